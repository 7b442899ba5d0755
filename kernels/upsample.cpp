// Bilinear enlargement by a whole number for CPUs in float32, with PyTorch's align_corners=False: an output pixel lies at
// (its number + .5) / scale - .5 of the input, whose edges are repeated. Plain C ABI, loaded by vsedvr/ops/native.py. Layouts
// are NHWC, which is what torch calls channels_last:
//   x    (batch, height, width, channels)
//   out  (batch, scale * height, scale * width, channels)

#include "common.hpp"

namespace {

struct Shape {
    int64_t batch, height, width, channels, scale;
};

// The two pixels around a position of the output along one axis, and the second one's weight.
struct Between {
    int64_t at[2];
    float part;
    Between(int64_t position, int64_t size, int64_t scale) {
        const double place = std::max((double(position) + .5) / double(scale) - .5, 0.);
        at[0] = std::min(int64_t(place), size - 1);
        at[1] = std::min(at[0] + 1, size - 1);
        part = float(place - double(at[0]));
    }
};

}  // namespace

#define BODY "upsample_rows.hpp"
#include "for_each_isa.hpp"

// shape: batch, height, width, channels, scale. isa is as in deform_conv.cpp. Returns 0, or 1 if memory ran out.
EXPORT int vsedvr_upsample_float32(const int64_t* shape, const float* x, float* out, int threads, int isa) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4]};
    return vsedvr::status_of([&] {
#define RUN(ISA) vsedvr::run_threads(ISA::Upsample{s, x, out}, s.batch * s.scale * s.height, 8, threads);
        RUN_BEST(isa, RUN)
#undef RUN
    });
}
