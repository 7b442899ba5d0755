// Runs the deformable convolution and its gradients under AddressSanitizer: buffers of exactly the right size, awkward shapes,
// offsets of every kind. Built and run by test_native.py and test_windows.py; prints what it did and exits with 0, or the
// sanitizer ends it.

#include "../../kernels/deform_conv.cpp"

#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <type_traits>

template <typename Element>
void run(const Shape& s, float reach, int isa, int threads) {
    // arrays from new[], whose ends the sanitizer watches
    const int64_t offsets = s.pixels() * 3 * s.groups * s.taps();
    std::unique_ptr<Element[]> x(new Element[s.pixels() * s.channels]()), out(new Element[s.pixels() * s.out_channels]());
    std::unique_ptr<Element[]> weight(new Element[s.out_channels * s.channels * s.taps()]());
    std::unique_ptr<float[]> conv_offset(new float[offsets]), bias(new float[s.out_channels]());
    const float odd_ones[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, std::numeric_limits<float>::denorm_min(), -1.f, 0.f};
    uint32_t state = 1;
    for (int64_t k = 0; k < offsets; k++) {
        state = state * 1664525u + 1013904223u;
        conv_offset[k] = state >> 28 ? (float(state >> 8) / (1 << 23) - 1.f) * reach : odd_ones[(state >> 24) % 8];
    }
    dcn(s, x.get(), conv_offset.get(), weight.get(), bias.get(), out.get(), .1f, threads, isa);
    if constexpr (std::is_same_v<Element, float>) {
        const int64_t samples = s.pixels() * s.taps() * s.channels;
        std::unique_ptr<float[]> grad_columns(new float[samples]()), columns(new float[samples]);
        std::unique_ptr<float[]> grad_x(new float[s.pixels() * s.channels]()), grad_conv_offset(new float[offsets]);
        dcn_backward(s, x.get(), conv_offset.get(), grad_columns.get(), columns.get(), grad_x.get(), grad_conv_offset.get(),
                     threads, isa);
    }
}

int main() {
    const Shape shapes[] = {{1, 1, 1, 1, 1, 1, 3},  {2, 5, 7, 64, 64, 8, 3}, {1, 1, 13, 7, 5, 1, 3},    {1, 13, 1, 12, 20, 3, 1},
                            {3, 9, 50, 8, 3, 2, 5}, {0, 4, 4, 8, 8, 1, 3},   {1, 20, 30, 128, 33, 8, 3}, {1, 3, 3, 24, 70, 8, 3},
                            {1, 6, 7, 32, 32, 4, 3}, {1, 5, 6, 24, 24, 3, 3}, {1, 5, 6, 32, 16, 2, 3}};
    int runs = 0;
    for (int isa = 0; isa <= best_isa(); isa++)
        for (const Shape& s : shapes)
            for (float reach : {0.f, 3.f, 1000.f})
                for (int threads : {1, 3}) {
                    run<float>(s, reach, isa, threads);
                    run<uint16_t>(s, reach, isa, threads);
                    runs += 2;
                }
    std::printf("%d runs\n", runs);
}
