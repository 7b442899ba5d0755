// Runs the 3x3 convolution under AddressSanitizer: buffers of exactly the right size, awkward shapes. Built and run by
// test_native.py; prints what it did and exits with 0, or the sanitizer ends it.

#include "../../kernels/conv3x3.cpp"

#include <cstdio>
#include <memory>

EXPORT int vsedvr_best_isa() { return best_isa(); }

int main() {
    const int64_t shapes[][5] = {{1, 1, 1, 16, 1},  {2, 5, 7, 64, 64},  {1, 1, 13, 16, 5}, {1, 13, 1, 32, 216},
                                 {3, 9, 50, 16, 33}, {0, 4, 4, 16, 16}, {1, 20, 31, 128, 70}};
    int runs = 0;
    for (int isa = 0; isa <= best_isa(); isa++)
        for (const auto& s : shapes)
            for (bool with_bias : {false, true})
                for (int threads : {1, 3}) {
                    const int64_t pixels = s[0] * s[1] * s[2];
                    std::unique_ptr<float[]> x(new float[pixels * s[3]]()), out(new float[pixels * s[4]]());
                    std::unique_ptr<float[]> weight(new float[s[4] * s[3] * 9]()), bias(new float[s[4]]());
                    vsedvr_conv3x3_float32(s, x.get(), weight.get(), with_bias ? bias.get() : nullptr, out.get(), threads, isa);
                    runs++;
                }
    std::printf("%d runs\n", runs);
}
