// 3x3 convolution with stride 1 and padding 1 for CPUs in float32, forward only, by Winograd's F(4x4, 3x3): 36 products
// instead of 144 for 4x4 output pixels. Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
// 2016, section 4:
//
//     Y = A^T [(G g G^T) * (B^T d B)] A     of a 6x6 input tile d and a kernel g, the products summed over channels
//
// The transforms evaluate polynomials at the points 0, +-sqrt(1/2), +-sqrt(2) and infinity, not at the paper's 0, +-1, +-2:
// for as much work, rounding errors are 2 to 4 times smaller.
//
// Around it, in the same pass over memory, all that a network does between two convolutions:
//
//     out = LeakyReLU(pixel_shuffle(conv(cat(x, x2)) + bias) + add)
//
// where x2 may be half as high and wide: then it is enlarged bilinearly, and multiplied by a factor, as it is read.
//
// Plain C ABI, loaded by vsedvr/ops/native.py. Layouts are NHWC, which is what torch calls channels_last:
//   x       (batch, height, width, channels)
//   x2      (batch, height, width, channels2), or (batch, height / 2, width / 2, channels2), or null where channels2 is 0
//   weight  (out_channels, channels + channels2, 3, 3)
//   bias    (out_channels), or null
//   add     as out, or null
//   out     (batch, rows, width, out_channels): `rows` rows of the convolution, of which first_row is the first; or with
//           shuffle (batch, 2 * rows, 2 * width, out_channels / 4)

#include <memory>
#include <new>

#include "common.hpp"

namespace {

struct Shape {
    int64_t batch, height, width, channels, channels2, out_channels, shuffle, first_row, rows;
    float enlarge;  // the factor of an x2 that is half as high and wide, or 0
    int64_t depth() const { return channels + channels2; }
    int64_t parts() const { return shuffle ? 4 : 1; }  // groups of output channels that go to pixels of their own
    int64_t part_size() const { return out_channels / parts(); }
    int64_t tile_rows() const { return (rows + 3) / 4; }
    int64_t tile_columns() const { return (width + 3) / 4; }
    int64_t tiles() const { return batch * tile_rows() * tile_columns(); }
};

Shape whole(int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t out_channels) {
    return {batch, height, width, channels, 0, out_channels, 0, 0, height, 0};
}

Shape of_weight(int64_t channels, int64_t out_channels, int shuffle) {
    return {0, 0, 0, channels, 0, out_channels, shuffle, 0, 0, 0};
}

// Floats without a value, aligned as vectors are.
struct Delete {
    void operator()(float* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
typedef std::unique_ptr<float[], Delete> Floats;
Floats new_floats(int64_t count) {
    return Floats(static_cast<float*>(::operator new[](count * sizeof(float), std::align_val_t(64))));
}

}  // namespace

#define BODY "conv3x3_tiles.hpp"
#include "for_each_isa.hpp"

namespace {

int64_t packed_floats(const Shape& s, int isa) {
    int64_t floats = 0;
#define RUN(ISA) floats = ISA::packed_floats(s);
    RUN_BEST(isa, RUN)
#undef RUN
    return floats;
}

void pack(const Shape& s, const float* weight, const float* bias, float* packed, int threads, int isa) {
#define RUN(ISA) vsedvr::run_threads(ISA::Packing{s, weight, bias, packed}, s.depth(), 8, threads);
    RUN_BEST(isa, RUN)
#undef RUN
}

void convolve(const Shape& s, const float* x, const float* x2, const float* packed, const float* add, float* out, float slope,
              int threads, int isa) {
#define RUN(ISA)                                                                         \
    {                                                                                    \
        const ISA::Convolution convolution{s, x, x2, packed, add, out, slope};           \
        vsedvr::run_threads(convolution, s.tiles(), ISA::piece_of(s, threads), threads); \
    }
    RUN_BEST(isa, RUN)
#undef RUN
}

}  // namespace

// Of all functions here: isa is as in deform_conv.cpp. The result is 0, or 1 if memory ran out.

// The convolution and nothing around it. shape: batch, height, width, channels, out_channels.
EXPORT int vsedvr_conv3x3_float32(const int64_t* shape, const float* x, const float* weight, const float* bias, float* out,
                                  int threads, int isa) {
    const Shape s = whole(shape[0], shape[1], shape[2], shape[3], shape[4]);
    return vsedvr::status_of([&] {
        const Floats packed = new_floats(packed_floats(s, isa));
        pack(s, weight, bias, packed.get(), threads, isa);
        convolve(s, x, nullptr, packed.get(), nullptr, out, 1, threads, isa);
    });
}

// How many floats the packed form of weight and bias has, for one instruction set. `channels` are those of x and x2 together.
EXPORT int64_t vsedvr_conv3x3_packed_floats(int64_t channels, int64_t out_channels, int shuffle, int isa) {
    return packed_floats(of_weight(channels, out_channels, shuffle), isa);
}

EXPORT int vsedvr_conv3x3_pack(int64_t channels, int64_t out_channels, int shuffle, const float* weight, const float* bias,
                               float* packed, int threads, int isa) {
    const Shape s = of_weight(channels, out_channels, shuffle);
    return vsedvr::status_of([&] { pack(s, weight, bias, packed, threads, isa); });
}

// shape: batch, height, width, channels, channels2, out_channels, shuffle, first_row, rows. `packed` is for the same isa.
// enlarge: the factor of an x2 that is half as high and wide; 0 where it is as large as x. slope: of the LeakyReLU; 0 for ReLU,
// 1 for none.
EXPORT int vsedvr_conv3x3_packed_float32(const int64_t* shape, const float* x, const float* x2, const float* packed,
                                         const float* add, float* out, float enlarge, float slope, int threads, int isa) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6], shape[7], shape[8], enlarge};
    return vsedvr::status_of([&] { convolve(s, x, x2, packed, add, out, slope, threads, isa); });
}
