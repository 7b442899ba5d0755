// Modulated deformable convolution for CPUs: EDVR's `dcn` and its gradients. Plain C ABI, loaded by vsedvr/ops/native.py.
//
// out[p][o] = lrelu(bias[o] + sum over taps t and channels c of weight[o][c][t] * sample(p, t, c)), where sample is
// x[c] at (y + ky + dy, x + kx + dx), bilinear and zero outside, times sigmoid(mask logit). Layouts are NHWC, which is
// what torch calls channels_last:
//   x            (batch, height, width, channels)
//   conv_offset  (batch, height, width, 3 * groups * taps): (dy, dx) pairs by group and tap, then the mask logits
//   weight       (out_channels, channels, kernel, kernel)
//   out          (batch, height, width, out_channels)
// x, weight and out are float32, or bfloat16 given as uint16_t; all else is float32, positions and sums included.
//
// The gradients of everything but the product: grad_columns, the gradient of the samples, is (batch, height, width, taps,
// channels). Writes the samples with their masks into columns, in the same form, for the weight's gradient; writes
// grad_conv_offset; adds to grad_x. Offsets on whole numbers have the derivative to the right, as torchvision's.

#include "common.hpp"

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

#define BODY "deform_conv_pixels.hpp"
#include "for_each_isa.hpp"

namespace {

template <typename Element>
void dcn(const Shape& s, const Element* x, const float* conv_offset, const Element* weight, const float* bias, Element* out,
         float slope, int threads, int isa) {
#define RUN(ISA)                                                                                         \
    {                                                                                                    \
        const std::vector<float> packed = ISA::pack(s, weight);                                          \
        const ISA::Convolution<Element> convolution{s, x, conv_offset, packed.data(), bias, out, slope}; \
        vsedvr::run_threads(convolution, s.pixels(), 384, threads);                                      \
    }
    RUN_BEST(isa, RUN)
#undef RUN
}

void dcn_backward(const Shape& s, const float* x, const float* conv_offset, const float* grad_columns, float* columns,
                  float* grad_x, float* grad_conv_offset, int threads, int isa) {
#define RUN(ISA)                                                                                            \
    {                                                                                                       \
        const ISA::Gradients gradients{s, x, conv_offset, grad_columns, columns, grad_x, grad_conv_offset}; \
        vsedvr::run_threads(gradients, s.batch, 1, threads);                                                \
    }
    RUN_BEST(isa, RUN)
#undef RUN
}

Shape read(const int64_t* shape) { return {shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6]}; }

}  // namespace

// shape: batch, height, width, channels, out_channels, groups, kernel; height * width below 2^31.
// isa: 0 for any processor, 1 for AVX2, 2 for AVX-512, at most what vsedvr_best_isa gives. Returns 0, or 1 if memory ran out.
#define DEFINE(name, Element)                                                                                        \
    EXPORT int name(const int64_t* shape, const Element* x, const float* conv_offset, const Element* weight,         \
                    const float* bias, Element* out, float slope, int threads, int isa) {                            \
        return vsedvr::status_of([&] { dcn(read(shape), x, conv_offset, weight, bias, out, slope, threads, isa); }); \
    }
DEFINE(vsedvr_dcn_float32, float)
DEFINE(vsedvr_dcn_bfloat16, uint16_t)
EXPORT int vsedvr_dcn_backward_float32(const int64_t* shape, const float* x, const float* conv_offset,
                                       const float* grad_columns, float* columns, float* grad_x, float* grad_conv_offset,
                                       int threads, int isa) {
    return vsedvr::status_of([&] {
        dcn_backward(read(shape), x, conv_offset, grad_columns, columns, grad_x, grad_conv_offset, threads, isa);
    });
}
EXPORT int vsedvr_best_isa() { return best_isa(); }

// Goes up whenever the name, the arguments or the result of an exported function change.
EXPORT int vsedvr_interface() { return 4; }

// Never called: the linker of Windows wants it of everything that setuptools builds.
EXPORT void* PyInit__kernels() { return nullptr; }
