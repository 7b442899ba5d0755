// Convolutions with any odd kernel and any stride for CPUs in float32, forward only: 1x1, with stride 2, of a few channels. For
// each output pixel the inputs that it depends on become a row, and the rows are multiplied with the weight (im2col). With
// padding kernel / 2,
//
//     out = LeakyReLU(conv(cat(x_0 * scale_0, x_1 * scale_1, ...)) + bias)
//     or, with a map to modulate,  2 * map * sigmoid(logits) + conv(...) + bias
//
// Each output is summed up in the same order on any number of threads. Plain C ABI, loaded by vsedvr/ops/native.py. Layouts are
// NHWC, which is what torch calls channels_last:
//   x_i          (batch, height, width, channels), for each of the inputs
//   scale_i      (batch, height, width); there are none, or one for each input
//   weight       (out_channels, inputs * channels, kernel, kernel)
//   bias         (out_channels), or null
//   map, logits  as out with one part, or null
//   out          (parts, batch, out_height, out_width, out_channels / parts), where out_height is height / stride, rounded up

#include "common.hpp"

namespace {

struct Shape {
    int64_t batch, height, width, channels, inputs, out_channels, parts, kernel, stride;
    int64_t taps() const { return kernel * kernel; }
    int64_t depth() const { return taps() * inputs * channels; }
    int64_t out_height() const { return (height - 1) / stride + 1; }
    int64_t out_width() const { return (width - 1) / stride + 1; }
    int64_t pixels() const { return batch * out_height() * out_width(); }
    int64_t part_size() const { return out_channels / parts; }
};

}  // namespace

#define BODY "conv_direct_pixels.hpp"
#include "for_each_isa.hpp"

// Of all functions here: isa is as in deform_conv.cpp. The result of those that compute is 0, or 1 if memory ran out.

// How many floats the packed form of weight and bias has, for one instruction set. depth: kernel^2 * channels of all inputs.
EXPORT int64_t vsedvr_conv_packed_floats(int64_t depth, int64_t out_channels, int isa) {
    int64_t floats = 0;
#define RUN(ISA) floats = (depth + 1) * ISA::all_columns(out_channels);
    RUN_BEST(isa, RUN)
#undef RUN
    return floats;
}

EXPORT void vsedvr_conv_pack(int64_t channels, int64_t out_channels, int64_t kernel, const float* weight, const float* bias,
                             float* packed, int isa) {
    const Shape s{0, 0, 0, channels, 1, out_channels, 1, kernel, 1};
#define RUN(ISA) ISA::pack(s, weight, bias, packed);
    RUN_BEST(isa, RUN)
#undef RUN
}

// shape: batch, height, width, channels of each input, inputs, out_channels, parts, kernel, stride.
// x, scale: pointers to each of the inputs, and to their scales, or null for none. `packed` is for the same isa.
EXPORT int vsedvr_conv_float32(const int64_t* shape, const float* const* x, const float* const* scale, const float* packed,
                               const float* map, const float* logits, float* out, float slope, int threads, int isa) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6], shape[7], shape[8]};
    return vsedvr::status_of([&] {
#define RUN(ISA)                                                                          \
    {                                                                                     \
        const ISA::Convolution convolution{s, x, scale, packed, map, logits, out, slope}; \
        vsedvr::run_threads(convolution, s.pixels(), 8 * ISA::block, threads);            \
    }
        RUN_BEST(isa, RUN)
#undef RUN
    });
}

// out[p] = sigmoid(sum over channels of a[p] * b[p]) of all pixels.
EXPORT int vsedvr_similarity_float32(int64_t pixels, int64_t channels, const float* a, const float* b, float* out, int threads,
                                     int isa) {
    return vsedvr::status_of([&] {
#define RUN(ISA) vsedvr::run_threads(ISA::Similarity{channels, a, b, out}, pixels, 1024, threads);
        RUN_BEST(isa, RUN)
#undef RUN
    });
}
