// Modulated deformable convolution for CPUs: EDVR's `dcn`, forward only. Plain C ABI, loaded by vsedvr/ops/native.py.
//
// out[p][o] = lrelu(bias[o] + sum over taps t and channels c of weight[o][c][t] * sample(p, t, c)), where sample is
// x[c] at (y + ky + dy, x + kx + dx), bilinear and zero outside, times sigmoid(mask logit). Layouts are NHWC, which is
// what torch calls channels_last:
//   x            (batch, height, width, channels)
//   conv_offset  (batch, height, width, 3 * groups * taps): (dy, dx) pairs by group and tap, then the mask logits
//   weight       (out_channels, channels, kernel, kernel)
//   out          (batch, height, width, out_channels)
// x, weight and out are float32, or bfloat16 given as uint16_t; all else is float32, positions and sums included.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

struct Shape {
    int64_t batch, height, width, channels, out_channels, groups, kernel;
    int64_t taps() const { return kernel * kernel; }
    int64_t pixels() const { return batch * height * width; }
};

inline float to_float(float value) { return value; }
inline float to_float(uint16_t bfloat16) {
    uint32_t bits = uint32_t(bfloat16) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline void assign(float& to, float value) { to = value; }
inline void assign(uint16_t& to, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bool nan = value != value;
    to = nan ? 0x7fc0 : uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // round half to even
}

}  // namespace

// The work on a range of pixels, compiled once for each instruction set.
#define ISA generic
#define LANES 4
#define ROWS 4
#define VECTORS 2
#include "deform_conv_pixels.hpp"

#if defined(__x86_64__)
#define ISA avx2
#define LANES 8
#define ROWS 6
#define VECTORS 2
#define TARGET "avx2,fma"
#include "deform_conv_pixels.hpp"

#define ISA avx512
#define LANES 16
#define ROWS 12
#define VECTORS 2
#define TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
#include "deform_conv_pixels.hpp"
#endif

namespace {

// 0: any processor, 1: AVX2, 2: AVX-512
int best_isa() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

template <typename Convolution>
void run_threads(Convolution convolution, int64_t pixels, int threads) {
    constexpr int64_t chunk = 384;
    std::atomic<int64_t> next{0};
    auto work = [&] {
        for (int64_t begin; (begin = next.fetch_add(chunk)) < pixels;)
            convolution(begin, std::min(begin + chunk, pixels));
    };
    std::vector<std::thread> others;
    for (int k = 1; k < threads && k * chunk < pixels; k++) others.emplace_back(work);
    work();
    for (auto& other : others) other.join();
}

template <typename Element>
void dcn(const Shape& s, const Element* x, const float* conv_offset, const Element* weight, const float* bias, Element* out,
         float slope, int threads, int isa) {
#define RUN(ISA)                                                                                                      \
    {                                                                                                                 \
        const std::vector<float> packed = ISA::pack(s, weight);                                                       \
        run_threads(ISA::Convolution<Element>{s, x, conv_offset, packed.data(), bias, out, slope}, s.pixels(), threads); \
    }
#if defined(__x86_64__)
    if (isa == 2) RUN(avx512)
    else if (isa == 1) RUN(avx2)
    else
#endif
        RUN(generic)
#undef RUN
}

}  // namespace

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

// shape: batch, height, width, channels, out_channels, groups, kernel; height * width below 2^31.
// isa: 0 for any processor, 1 for AVX2, 2 for AVX-512, at most what vsedvr_best_isa gives.
#define DEFINE(name, Element)                                                                                              \
    EXPORT void name(const int64_t* shape, const Element* x, const float* conv_offset, const Element* weight,              \
                     const float* bias, Element* out, float slope, int threads, int isa) {                                 \
        const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6]};                               \
        dcn(s, x, conv_offset, weight, bias, out, slope, threads, isa);                                                    \
    }
DEFINE(vsedvr_dcn_float32, float)
DEFINE(vsedvr_dcn_bfloat16, uint16_t)
EXPORT int vsedvr_best_isa() { return best_isa(); }

// Never called: the linker of Windows wants it of everything that setuptools builds.
EXPORT void* PyInit__deform_conv() { return nullptr; }
