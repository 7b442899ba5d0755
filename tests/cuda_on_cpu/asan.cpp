// Runs the kernels under AddressSanitizer: buffers of exactly the right size, awkward shapes, offsets of every kind. Built and
// run by test_cuda_dcn.py; prints how many launches there were and exits with 0, or the sanitizer ends it.

#include "cuda_cpu.hpp"
#include "prims_cpu.hpp"
#include "kernels.cu"

#include <cstdio>
#include <limits>

struct Shape {
    int batch, height, width, channels, out_channels, groups, kernel;
    size_t pixels() const { return size_t(batch) * height * width; }
    unsigned tiles() const { return batch * ((height + 7) / 8) * ((width + 7) / 8); }
};

template <typename T>
std::unique_ptr<T[]> zeros(size_t count) {
    return std::unique_ptr<T[]>(new T[count]());
}

template <typename O>
std::unique_ptr<O[]> offsets(const Shape& s, float reach) {
    const float odd_ones[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, std::numeric_limits<float>::denorm_min(), -1.f, 0.f};
    const size_t count = s.pixels() * 3 * s.groups * s.kernel * s.kernel;
    auto values = zeros<O>(count);
    uint32_t state = 1;
    for (size_t k = 0; k < count; k++) {
        state = state * 1664525 + 1013904223;
        assign(values[k], state >> 28 ? (float(state >> 8) / (1 << 23) - 1.f) * reach : odd_ones[(state >> 24) % 8]);
    }
    return values;
}

static int launches = 0;

template <typename T, typename O, typename Kernel>
void forward(const Shape& s, float reach, dim3 blocks, size_t shared_bytes, Kernel kernel) {
    const auto x = zeros<T>(s.pixels() * s.channels), out = zeros<T>(s.pixels() * s.out_channels);
    const auto bias = zeros<T>(s.out_channels);
    const auto weight = zeros<T>(size_t(s.out_channels) * s.channels * s.kernel * s.kernel);
    const auto conv_offset = offsets<O>(s, reach);
    const auto offset_bias = zeros<O>(3 * s.groups * s.kernel * s.kernel);
    cuda_cpu::launch(blocks, {256}, shared_bytes, cuda_cpu::shuffled, [&] {
        kernel(x.get(), conv_offset.get(), offset_bias.get(), weight.get(), bias.get(), out.get());
    });
    launches++;
}

template <typename T, typename O>
void any(const Shape& s, float reach,
         void (*kernel)(const T*, const O*, const O*, const T*, const T*, T*, int, int, int, int, int, int, float)) {
    const dim3 blocks{s.tiles(), unsigned(s.out_channels + 63) / 64};
    forward<T, O>(s, reach, blocks, 2 * 64 * any_row * sizeof(float), [&](auto... tensors) {
        kernel(tensors..., s.height, s.width, s.channels, s.out_channels, s.groups, s.kernel, .1f);
    });
}

template <typename T, typename O, int C, int G>
void mma(int batch, int height, int width, float reach,
         void (*kernel)(const T*, const O*, const O*, const T*, const T*, T*, int, int, float)) {
    const Shape s{batch, height, width, C, C, G, 3};
    forward<T, O>(s, reach, {s.tiles()}, Mma<T, O, C, G>::shared_bytes,
                  [&](auto... tensors) { kernel(tensors..., height, width, .1f); });
}

template <int C, int G, bool HALF2>
void registers(int batch, int height, int width, float reach,
               void (*kernel)(const Half*, const Half*, const Half*, const Half*, const Half*, Half*, int, int, float)) {
    const Shape s{batch, height, width, C, C, G, 3};
    const unsigned tiles = batch * ((height + 7) / 8) * ((width + 15) / 16);
    forward<Half, Half>(s, reach, {tiles}, Registers<C, G, HALF2>::shared_bytes,
                        [&](auto... tensors) { kernel(tensors..., height, width, .1f); });
}

void backward(const Shape& s, float reach) {
    const size_t taps = size_t(s.kernel) * s.kernel, features = s.pixels() * s.channels;
    const int first = int(s.pixels() / 2), count = int(s.pixels()) - first;
    const auto x = zeros<float>(features), grad_x = zeros<float>(features);
    const auto grad_columns = zeros<float>(count * taps * s.channels), columns = zeros<float>(count * taps * s.channels);
    const auto conv_offset = offsets<float>(s, reach), grad_conv_offset = zeros<float>(s.pixels() * 3 * s.groups * taps);
    cuda_cpu::launch({unsigned(count * taps * s.groups + 255) / 256}, {256}, 0, cuda_cpu::in_order, [&] {
        vsedvr_backward_float32(x.get(), conv_offset.get(), grad_columns.get(), columns.get(), grad_x.get(),
                             grad_conv_offset.get(), first, count, s.height, s.width, s.channels, s.groups, s.kernel);
    });
    launches++;
}

void bias_act(int pixels, int channels) {
    const auto x = zeros<Half>(size_t(pixels) * channels), add = zeros<Half>(size_t(pixels) * channels);
    const auto bias = zeros<Half>(channels);
    const unsigned blocks = (pixels * channels + 2047) / 2048;
    for (const Half* added : {add.get(), static_cast<Half*>(nullptr)}) {
        cuda_cpu::launch({blocks}, {256}, 0, cuda_cpu::in_order,
                         [&] { vsedvr_bias_act_float16(x.get(), bias.get(), added, pixels, channels, .1f); });
        launches++;
    }
}

void bias_act_shuffle(int rows, int width, int channels) {
    const size_t count = size_t(rows) * width * channels * 4;
    const auto x = zeros<float>(count), out = zeros<float>(count), bias = zeros<float>(4 * channels);
    const unsigned blocks = (rows * width * ((channels + 7) / 8) + 255) / 256;
    cuda_cpu::launch({blocks}, {256}, 0, cuda_cpu::in_order, [&] {
        vsedvr_bias_act_shuffle_float32(x.get(), bias.get(), out.get(), rows * width, width, channels, .1f);
    });
    launches++;
}

int main() {
    for (int channels : {1, 3, 8, 12, 64}) {
        for (int pixels : {1, 7, 300}) bias_act(pixels, channels);
        bias_act_shuffle(3, 7, channels);
    }
    const Shape shapes[] = {{1, 1, 1, 1, 1, 1, 3},   {2, 5, 7, 64, 64, 8, 3}, {1, 1, 13, 7, 5, 1, 3},
                            {1, 13, 1, 12, 20, 3, 1}, {3, 9, 20, 8, 3, 2, 5},  {1, 9, 9, 40, 70, 1, 3}};
    for (float reach : {0.f, 3.f, 1000.f}) {
        for (const Shape& s : shapes) {
            any<float, float>(s, reach, vsedvr_any_float32_float32);
            any<Half, Half>(s, reach, vsedvr_any_float16_float16);
            backward(s, reach);
        }
        registers<64, 8, false>(2, 9, 7, reach, vsedvr_registers_float16_float16_64_8);
        registers<32, 4, true>(1, 3, 21, reach, vsedvr_half2_float16_float16_32_4);
        mma<Half, Half, 32, 4>(1, 1, 1, reach, vsedvr_mma_float16_float16_32_4);
        mma<Half, float, 64, 8>(2, 9, 7, reach, vsedvr_mma_float16_float32_64_8);
        mma<BFloat16, float, 128, 8>(1, 3, 10, reach, vsedvr_mma_bfloat16_float32_128_8);
    }
    std::printf("%d launches\n", launches);
}
