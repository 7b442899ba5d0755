// The deformable convolution of a range of pixels, and its gradients.
// The body of deform_conv.cpp, compiled for each instruction set.

#if LANES == 4
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#elif LANES == 8
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#endif

namespace {
namespace ISA {

#include "product.hpp"

typedef float Vector8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint16_t Half8 __attribute__((vector_size(16), aligned(2), may_alias));
typedef uint32_t Bits8 __attribute__((vector_size(32), aligned(4), may_alias));

constexpr int64_t block = 48;                     // pixels whose samples lie in the cache together; a multiple of ROWS
static_assert(block % ROWS == 0, "");

inline Vector8 load8(const float* p) { return *reinterpret_cast<const Vector8*>(p); }
inline Vector8 load8(const uint16_t* p) {
    Bits8 bits = __builtin_convertvector(*reinterpret_cast<const Half8*>(p), Bits8) << 16;
    return reinterpret_cast<const Vector8&>(bits);
}

inline void assign_vector(float* to, Vector values) { store(to, values); }
inline void assign_vector(uint16_t* to, Vector values) {
    for (int k = 0; k < LANES; k++) assign(to[k], values[k]);
}

inline void store(int32_t* p, Integers v) { *reinterpret_cast<Integers*>(p) = v; }
inline Integers clamp(Integers v, int32_t high) {
    v = v < 0 ? Integers{} : v;
    return v > high ? Integers{} + high : v;
}

// Linear interpolation along one axis: the two pixels around a position, their weights and the derivatives of these. Pixels
// outside of the picture have 0 for both and `at` one inside. A NaN position makes the first weight NaN.
struct Between {
    Integers at[2];
    Vector weight[2], slope[2];
};

inline Between find_between(Vector position, int32_t size) {
    const Vector zero = {}, outside = zero - 1.f, end = zero + float(size);
    Vector inside = position < -1.f ? outside : position;
    inside = inside > end ? end : inside;
    const Vector nan = inside - inside;
    inside = inside == inside ? inside : outside;
    const Integers first = __builtin_convertvector(inside + 1.f, Integers) - 1;  // the floor, since inside + 1 >= 0
    const Vector part = inside - __builtin_convertvector(first, Vector);
    const Integers has_first = (first >= 0) & (first < size), has_second = first + 1 < size;
    const Integers moves = (position >= -1.f) & (position < float(size));
    return {{clamp(first, size - 1), clamp(first + 1, size - 1)},
            {(has_first ? 1.f - part : zero) + nan, has_second ? part : zero},
            {(has_first & moves) ? outside : zero, (has_second & moves) ? zero + 1.f : zero}};
}

// Where the samples of one pixel lie: four corners for each group and tap, as pixel numbers and as weights with the mask in
// them; for gradients the mask too, and the derivatives of the weights by the position.
struct Corners {
    std::vector<int32_t> at[4];
    std::vector<float> weight[4], slope_y[4], slope_x[4], mask;
    std::vector<float> tap_y, tap_x, padded;

    explicit Corners(const Shape& s, bool for_gradients = false) {
        const int64_t n = s.groups * s.taps(), size = std::max<int64_t>(n, LANES);
        for (auto& v : at) v.resize(size);
        for (auto* v : {&weight[0], &weight[1], &weight[2], &weight[3], &tap_y, &tap_x}) v->resize(size);
        if (for_gradients) {
            for (auto& v : slope_y) v.resize(size);
            for (auto& v : slope_x) v.resize(size);
            mask.resize(size);
        }
        for (int64_t j = 0; j < n; j++) {
            tap_y[j] = float(j % s.taps() / s.kernel - s.kernel / 2);
            tap_x[j] = float(j % s.taps() % s.kernel - s.kernel / 2);
        }
        if (n < LANES) padded.resize(3 * LANES);
    }

    // The last vector reaches back over the one before it where they do not come out even.
    void find(const Shape& s, const float* conv_offset, int64_t row, int64_t column) {
        const int64_t n = s.groups * s.taps();
        const float *pairs = conv_offset, *logits = conv_offset + 2 * n;
        if (n < LANES) {
            std::copy_n(pairs, 2 * n, padded.data());
            std::copy_n(logits, n, padded.data() + 2 * LANES);
            pairs = padded.data();
            logits = padded.data() + 2 * LANES;
        }
        for (int64_t j = 0; j < n; j += LANES) {
            const int64_t from = std::max<int64_t>(std::min(j, n - LANES), 0);
            find_vector(s, from, pairs + 2 * from, logits + from, float(row), float(column));
        }
    }

    void find_vector(const Shape& s, int64_t j, const float* pairs, const float* logits, float row, float column) {
        const Vector some = load(pairs), more = load(pairs + LANES), masks = sigmoid(load(logits));
        const Vector y = __builtin_shufflevector(some, more, EVEN) + (load(&tap_y[j]) + row);
        const Vector x = __builtin_shufflevector(some, more, ODD) + (load(&tap_x[j]) + column);
        const Between vertical = find_between(y, int32_t(s.height)), horizontal = find_between(x, int32_t(s.width));
        const Vector rows[2] = {vertical.weight[0] * masks, vertical.weight[1] * masks};
        for (int k = 0; k < 4; k++) {
            store(&at[k][j], vertical.at[k / 2] * int32_t(s.width) + horizontal.at[k % 2]);
            store(&weight[k][j], rows[k / 2] * horizontal.weight[k % 2]);
        }
        if (mask.empty()) return;
        store(&mask[j], masks);
        for (int k = 0; k < 4; k++) {
            store(&slope_y[k][j], vertical.slope[k / 2] * masks * horizontal.weight[k % 2]);
            store(&slope_x[k][j], rows[k / 2] * horizontal.slope[k % 2]);
        }
    }
};

// One sample of `width` channels: four corners by their weights.
template <typename Element>
inline void sample(const Element* const corner[4], const float weight[4], int64_t width, float* to) {
    for (int64_t step = 0; step < width && width >= 8; step += 8) {
        const int64_t c = std::min(step, width - 8);  // the last vector reaches back where they do not come out even
        *reinterpret_cast<Vector8*>(to + c) = load8(corner[0] + c) * weight[0] + load8(corner[1] + c) * weight[1] +
                                              load8(corner[2] + c) * weight[2] + load8(corner[3] + c) * weight[3];
    }
    for (int64_t c = 0; c < width && width < 8; c++)
        to[c] = to_float(corner[0][c]) * weight[0] + to_float(corner[1][c]) * weight[1] +
                to_float(corner[2][c]) * weight[2] + to_float(corner[3][c]) * weight[3];
}

// All samples of one pixel, into column[taps * channels]. The compiler is told the usual numbers of groups and of channels in a
// group: then it unrolls the samples, and addresses take no multiplications. 0 stands for any number.
template <int known_groups, int known_width, typename Element>
void sample_all(const Shape& s, const Corners& corners, const Element* picture, float* column) {
    const int64_t groups = known_groups ? known_groups : s.groups, width = known_width ? known_width : s.channels / s.groups;
    const int64_t taps = s.taps(), channels = groups * width;
    for (int64_t t = 0; t < taps; t++)
        for (int64_t g = 0, j = t; g < groups; g++, j += taps, column += width) {
            const Element* group = picture + g * width;
            const Element* const corner[4] = {group + corners.at[0][j] * channels, group + corners.at[1][j] * channels,
                                              group + corners.at[2][j] * channels, group + corners.at[3][j] * channels};
            const float weight[4] = {corners.weight[0][j], corners.weight[1][j], corners.weight[2][j], corners.weight[3][j]};
            for (int k : {1, 3}) __builtin_prefetch(corner[k] + 2 * channels);  // what the next pixels are likely to sample
            sample(corner, weight, width, column);
        }
}

// The width of the panel of output channels from o on: panel_width, or for the last few one vector.
inline int64_t width_of_panel(const Shape& s, int64_t o) { return s.out_channels - o > LANES ? panel_width : LANES; }

// Weights as panels of output channels, [panel][tap][channel][output channel], zero where there are no more.
template <typename Element>
std::vector<float> pack(const Shape& s, const Element* weight) {
    const int64_t depth = s.taps() * s.channels, panels = (s.out_channels + panel_width - 1) / panel_width;
    std::vector<float> packed(panels * depth * panel_width, 0.f);
    for (int64_t o = 0; o < s.out_channels; o++) {
        const int64_t first = o / panel_width * panel_width, width = width_of_panel(s, first);
        for (int64_t c = 0; c < s.channels; c++)
            for (int64_t t = 0; t < s.taps(); t++)
                packed[first * depth + (t * s.channels + c) * width + o - first] =
                    to_float(weight[(o * s.channels + c) * s.taps() + t]);
    }
    return packed;
}

template <typename Element>
struct Convolution {
    const Shape& s;
    const Element* x;
    const float* conv_offset;
    const float* packed;
    const float* bias;
    Element* out;
    float slope;

    void operator()(int64_t begin, int64_t end) const {
        const int64_t depth = s.taps() * s.channels;
        Corners corners(s);
        std::vector<float> columns(block * depth, 0.f);
        for (int64_t first = begin; first < end; first += block) {
            const int64_t count = std::min(block, end - first);
            for (int64_t k = 0; k < count; k++) {
                const int64_t pixel = first + k, place = pixel % (s.height * s.width);
                const float* offsets = conv_offset + pixel * 3 * s.groups * s.taps();
                prefetch(offsets + 3 * s.groups * s.taps(), 3 * s.groups * s.taps());
                corners.find(s, offsets, place / s.width, place % s.width);
                sample_pixel(corners, x + (pixel - place) * s.channels, columns.data() + k * depth);
            }
            for (int64_t k = 0; k < count; k += ROWS)
                for (int64_t o = 0; o < s.out_channels; o += panel_width) {
                    const int64_t rows = std::min<int64_t>(ROWS, count - k);
                    if (width_of_panel(s, o) == LANES) finish<1>(columns.data() + k * depth, first + k, rows, o);
                    else finish<VECTORS>(columns.data() + k * depth, first + k, rows, o);
                }
        }
    }

    void sample_pixel(const Corners& corners, const Element* picture, float* column) const {
        const int64_t groups = s.groups, width = s.channels / groups;
        if (width == 8 && groups == 8) sample_all<8, 8>(s, corners, picture, column);
        else if (width == 8 && groups == 4) sample_all<4, 8>(s, corners, picture, column);
        else if (width == 8) sample_all<0, 8>(s, corners, picture, column);
        else if (width == 16 && groups == 8) sample_all<8, 16>(s, corners, picture, column);
        else if (width == 16) sample_all<0, 16>(s, corners, picture, column);
        else sample_all<0, 0>(s, corners, picture, column);
    }

    // What is read soon, and comes from memory. There is no harm in an address behind the end.
    static void prefetch(const float* p, int64_t floats) {
        for (int64_t k = 0; k < floats; k += 16) __builtin_prefetch(p + k);
    }

    // Output channels o.. of up to ROWS pixels.
    template <int vectors>
    void finish(const float* columns, int64_t pixel, int64_t rows, int64_t o) const {
        constexpr int64_t width = vectors * LANES;
        const int64_t depth = s.taps() * s.channels, channels = std::min(width, s.out_channels - o);
        float sums[ROWS * width] = {};
        for (int64_t r = 0; r < rows; r++) std::copy_n(bias + o, channels, sums + r * width);
        multiply<vectors, true>(columns, depth, depth, packed + o * depth, sums);
        for (int64_t r = 0; r < rows; r++) store_channels(sums + r * width, channels, out + (pixel + r) * s.out_channels + o);
    }

    // Without a branch on the sign of each sum, which would be guessed wrong half of the time.
    void store_channels(const float* sums, int64_t channels, Element* to) const {
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES) assign_vector(to + c, leaky_relu(load(sums + c), slope));
        for (; c < channels; c++) {
            const float less = sums[c] * slope;
            assign(to[c], sums[c] > 0 ? sums[c] : less);
        }
    }
};

#include "deform_conv_backward.hpp"

}  // namespace ISA
}  // namespace

#undef EVEN
#undef ODD
