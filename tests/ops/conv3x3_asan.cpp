// Runs the 3x3 convolution under AddressSanitizer: buffers of exactly the right size, awkward shapes. Built and run by
// test_native.py; prints what it did and exits with 0, or the sanitizer ends it.

#include "../../kernels/conv3x3.cpp"

#include <cstdio>

EXPORT int vsedvr_best_isa() { return best_isa(); }

typedef std::unique_ptr<float[]> Memory;
Memory zeros(int64_t floats) { return Memory(new float[floats]()); }

// batch, height, width, channels, out_channels
const int64_t shapes[][5] = {{1, 1, 1, 16, 1},    {2, 5, 7, 64, 64},   {1, 1, 13, 16, 5},  {1, 13, 1, 32, 216},
                             {3, 9, 50, 16, 33},  {0, 4, 4, 16, 16},   {1, 20, 31, 128, 70}, {1, 6, 9, 24, 40},
                             {2, 4, 11, 40, 24},  {1, 9, 6, 48, 216},  {1, 7, 5, 3, 64},   {1, 8, 10, 64, 3},
                             {1, 5, 4, 1, 12},    {1, 10, 3, 216, 48}, {1, 2, 2, 320, 64},
                             {2, 6, 12, 40, 24},  {1, 4, 6, 9, 7}};

int plain(const int64_t* s, int isa) {
    int runs = 0;
    for (bool with_bias : {false, true})
        for (int threads : {1, 3}) {
            const int64_t pixels = s[0] * s[1] * s[2];
            const Memory x = zeros(pixels * s[3]), out = zeros(pixels * s[4]), weight = zeros(s[4] * s[3] * 9), bias = zeros(s[4]);
            vsedvr_conv3x3_float32(s, x.get(), weight.get(), with_bias ? bias.get() : nullptr, out.get(), threads, isa);
            runs++;
        }
    return runs;
}

int packed(const int64_t* s, int isa) {
    const int64_t channels = s[3], out_channels = s[4];
    int runs = 0;
    for (int shuffle : {0, 1}) {
        if (shuffle && out_channels % 4) continue;
        const Memory weight = zeros(out_channels * channels * 9), bias = zeros(out_channels);
        const Memory weights = zeros(vsedvr_conv3x3_packed_floats(channels, out_channels, shuffle, isa));
        vsedvr_conv3x3_pack(channels, out_channels, shuffle, weight.get(), bias.get(), weights.get(), 2, isa);
        for (int64_t channels2 : {int64_t(0), channels / 2, channels - 1})
            for (auto [enlarge, first] : {std::pair<bool, int64_t>(false, 0), {false, s[1] / 3}, {true, 0}, {true, s[1] / 3}}) {
                const int64_t rows = s[1] - 2 * first, pixels = s[0] * s[1] * s[2], out_floats = s[0] * rows * s[2] * out_channels;
                const int64_t shape[] = {s[0], s[1], s[2], channels - channels2, channels2, out_channels, shuffle, first, rows};
                if (enlarge && (s[1] % 2 || s[2] % 2)) continue;
                const Memory x = zeros(pixels * shape[3]), x2 = zeros(pixels * channels2 / (enlarge ? 4 : 1));
                const Memory out = zeros(out_floats), add = zeros(out_floats);
                vsedvr_conv3x3_packed_float32(shape, x.get(), x2.get(), weights.get(), first ? add.get() : nullptr, out.get(),
                                              enlarge, .1f, 2, isa);
                runs++;
            }
    }
    return runs;
}

int main() {
    int runs = 0;
    for (int isa = 0; isa <= best_isa(); isa++)
        for (const auto& shape : shapes) runs += plain(shape, isa) + packed(shape, isa);
    std::printf("%d runs\n", runs);
}
