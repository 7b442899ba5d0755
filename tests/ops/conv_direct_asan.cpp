// Runs the direct convolution under AddressSanitizer: buffers of exactly the right size, awkward shapes. Built and run by
// test_windows.py; prints what it did and exits with 0, or the sanitizer ends it.

#include "../../kernels/conv_direct.cpp"

#include <cstdio>
#include <memory>

EXPORT int vsedvr_best_isa() { return best_isa(); }

typedef std::unique_ptr<float[]> Memory;
Memory zeros(int64_t floats) { return Memory(new float[floats]()); }

// batch, height, width, channels of each input, inputs, out_channels, parts, kernel, stride
const int64_t shapes[][9] = {{1, 1, 1, 3, 1, 64, 1, 3, 1},   {2, 5, 7, 64, 5, 128, 2, 1, 1}, {1, 9, 13, 40, 3, 80, 2, 1, 1},
                             {1, 10, 9, 24, 1, 40, 1, 3, 2}, {0, 4, 4, 16, 1, 16, 1, 3, 2},  {3, 7, 8, 1, 2, 5, 1, 5, 3},
                             {1, 6, 5, 20, 1, 6, 3, 1, 1},   {1, 12, 11, 216, 1, 48, 1, 1, 1}};

int run(const int64_t* s, int isa) {
    const int64_t height = (s[1] - 1) / s[8] + 1, width = (s[2] - 1) / s[8] + 1, channels = s[3] * s[4];
    const int64_t outputs = s[0] * height * width * s[5];
    const Memory weight = zeros(s[5] * channels * s[7] * s[7]), bias = zeros(s[5]), x = zeros(s[0] * s[1] * s[2] * s[3]);
    const Memory scale = zeros(s[0] * s[1] * s[2]), map = zeros(outputs), out = zeros(outputs);
    const Memory packed = zeros(vsedvr_conv_packed_floats(s[7] * s[7] * channels, s[5], isa));
    vsedvr_conv_pack(channels, s[5], s[7], weight.get(), bias.get(), packed.get(), isa);
    const std::vector<const float*> inputs(s[4], x.get()), scales(s[4], scale.get());
    int runs = 0;
    for (bool more : {false, true}) {
        const float* maps = more && s[6] == 1 ? map.get() : nullptr;
        vsedvr_conv_float32(s, inputs.data(), more ? scales.data() : nullptr, packed.get(), maps, maps, out.get(), .1f, 2, isa);
        runs++;
    }
    const int64_t pixels = s[0] * s[1] * s[2];
    vsedvr_similarity_float32(pixels, s[3], x.get(), x.get(), scale.get(), 2, isa);
    return runs + 1;
}

int main() {
    int runs = 0;
    for (int isa = 0; isa <= best_isa(); isa++)
        for (const auto& shape : shapes) runs += run(shape, isa);
    std::printf("%d runs\n", runs);
}
