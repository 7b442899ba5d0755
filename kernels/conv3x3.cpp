// 3x3 convolution with stride 1 and padding 1 for CPUs in float32, forward only, by Winograd's F(2x2, 3x3): 16 products
// instead of 36 for 2x2 output pixels. Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
// 2016, section 4.1:
//
//     Y = A^T [(G g G^T) * (B^T d B)] A     of a 4x4 input tile d and a kernel g, the products summed over channels
//
// Plain C ABI, loaded by vsedvr/ops/native.py. Layouts are NHWC, which is what torch calls channels_last:
//   x       (batch, height, width, channels), channels a multiple of 16
//   weight  (out_channels, channels, 3, 3)
//   bias    (out_channels), or null
//   out     (batch, height, width, out_channels)

#include "common.hpp"

namespace {

struct Shape {
    int64_t batch, height, width, channels, out_channels;
    int64_t tile_rows() const { return (height + 1) / 2; }
    int64_t tile_columns() const { return (width + 1) / 2; }
    int64_t tiles() const { return batch * tile_rows() * tile_columns(); }
};

}  // namespace

#define BODY "conv3x3_tiles.hpp"
#include "for_each_isa.hpp"

// shape: batch, height, width, channels, out_channels. isa: as in deform_conv.cpp. Returns 0, or 1 if memory ran out.
EXPORT int vsedvr_conv3x3_float32(const int64_t* shape, const float* x, const float* weight, const float* bias, float* out,
                                  int threads, int isa) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4]};
    return vsedvr::status_of([&] {
#define RUN(ISA)                                                                                        \
    {                                                                                                   \
        const std::vector<float> packed = ISA::pack(s, weight);                                         \
        vsedvr::run_threads(ISA::Convolution{s, x, packed.data(), bias, out}, s.tiles(), 192, threads); \
    }
        RUN_BEST(isa, RUN)
#undef RUN
    });
}
