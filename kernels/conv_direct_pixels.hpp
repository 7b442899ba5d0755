// The direct convolution of a range of output pixels, and how similar two maps are: the body of conv_direct.cpp, compiled for
// each instruction set.

namespace {
namespace ISA {

#include "product.hpp"

constexpr int64_t block = 48;  // output pixels whose rows lie in the cache together; a multiple of ROWS
static_assert(block % ROWS == 0, "");
constexpr int64_t depth_step = 128;  // inputs that are added up at a time: sums of sums round less than one long sum
static_assert(VECTORS == 2, "the last panel has one vector or all");

// The columns of the product are the output channels in whole vectors: the last vector reaches back over the one before it
// where they do not come out even, and less than a vector is filled up. Panels of columns are panel_width wide; the last one
// may be one vector narrower.
inline int64_t all_columns(int64_t out_channels) { return (out_channels + LANES - 1) / LANES * LANES; }
// The channel of the first column of a vector.
inline int64_t first_channel(const Shape& s, int64_t column) {
    return std::max<int64_t>(std::min(column / LANES * LANES, s.out_channels - LANES), 0);
}

// [panel][tap][channel][column], zero where a column has no output channel, with the bias of every column behind it.
inline void pack(const Shape& s, const float* weight, const float* bias, float* packed) {
    const int64_t depth = s.depth(), columns = all_columns(s.out_channels);
    for (int64_t column = 0; column < columns; column++) {
        const int64_t o = first_channel(s, column) + column % LANES, first = column / panel_width * panel_width;
        const int64_t width = std::min(panel_width, columns - first);
        const bool filling = o >= s.out_channels;
        for (int64_t c = 0; c < s.channels; c++)
            for (int64_t t = 0; t < s.taps(); t++)
                packed[first * depth + (t * s.channels + c) * width + column - first] =
                    filling ? 0.f : weight[(o * s.channels + c) * s.taps() + t];
        packed[depth * columns + column] = bias && !filling ? bias[o] : 0.f;
    }
}

struct Convolution {
    const Shape& s;
    const float *const *x, *const *scale;
    const float *packed, *map, *logits;
    float* out;
    float slope;

    void operator()(int64_t begin, int64_t end) const {
        const int64_t depth = s.depth(), columns = all_columns(s.out_channels);
        std::vector<float> rows(block * depth, 0.f);
        for (int64_t first = begin; first < end; first += block) {
            const int64_t count = std::min(block, end - first);
            Place place = place_of(first);
            for (int64_t k = 0; k < count; k++, place = after(place)) collect(place, rows.data() + k * depth);
            for (int64_t k = 0; k < count; k += ROWS)
                for (int64_t o = 0; o < columns; o += panel_width) {
                    const int64_t number = std::min<int64_t>(ROWS, count - k);
                    if (columns - o == LANES) finish<1>(rows.data() + k * depth, first + k, number, o);
                    else finish<VECTORS>(rows.data() + k * depth, first + k, number, o);
                }
        }
    }

    struct Place {
        int64_t picture, row, column;  // of an output pixel
    };

    Place place_of(int64_t pixel) const {
        const int64_t line = pixel / s.out_width();
        return {line / s.out_height(), line % s.out_height(), pixel % s.out_width()};
    }

    // Without the divisions of place_of, which would take as long as the product of a few channels.
    Place after(Place p) const {
        if (++p.column < s.out_width()) return p;
        p.column = 0;
        if (++p.row < s.out_height()) return p;
        return {p.picture + 1, 0, 0};
    }

    // All that an output pixel depends on, to[tap][input][channel]; zero outside of the picture.
    void collect(const Place& p, float* to) const {
        const int64_t top = p.row * s.stride - s.kernel / 2, left = p.column * s.stride - s.kernel / 2;
        const bool in_one = s.inputs == 1 && !scale && left >= 0 && left + s.kernel <= s.width;
        for (int64_t r = top; r < top + s.kernel; r++) {
            const int64_t line = (p.picture * s.height + r) * s.width, count = s.kernel * s.channels;
            if (in_one && r >= 0 && r < s.height) to = std::copy_n(x[0] + (line + left) * s.channels, count, to);
            else for (int64_t k = left; k < left + s.kernel; k++) to = collect_tap(r, k, line + k, to);
        }
    }

    float* collect_tap(int64_t r, int64_t k, int64_t from, float* to) const {
        const bool inside = r >= 0 && r < s.height && k >= 0 && k < s.width;
        for (int64_t i = 0; i < s.inputs; i++, to += s.channels) {
            if (!inside) std::fill_n(to, s.channels, 0.f);
            else if (scale) multiply_by(scale[i][from], x[i] + from * s.channels, to);
            else std::copy_n(x[i] + from * s.channels, s.channels, to);
        }
        return to;
    }

    void multiply_by(float factor, const float* from, float* to) const {
        for (int64_t c = 0; c < s.channels; c++) to[c] = from[c] * factor;
    }

    // Output channels o.. of up to ROWS pixels.
    template <int vectors>
    void finish(const float* rows, int64_t pixel, int64_t number, int64_t o) const {
        constexpr int64_t width = vectors * LANES;
        const int64_t depth = s.depth(), columns = all_columns(s.out_channels);
        float sums[ROWS * width];
        for (int64_t r = 0; r < ROWS; r++) std::copy_n(packed + depth * columns + o, width, sums + r * width);
        for (int64_t k = 0; k < depth; k += depth_step)
            multiply<vectors, true>(rows + k, depth, std::min(depth_step, depth - k), packed + o * depth + k * width, sums);
        for (int64_t v = 0; v < width; v += LANES) {
            const int64_t channel = first_channel(s, o + v), part = channel / s.part_size(), in_part = channel % s.part_size();
            if (in_part + LANES <= s.part_size()) {
                const int64_t at = (part * s.pixels() + pixel) * s.part_size() + in_part;
                for (int64_t r = 0; r < number; r++) store_vector(load(sums + r * width + v), at + r * s.part_size());
            } else {
                for (int64_t r = 0; r < number; r++) store_some(sums + r * width + v, pixel + r, channel);
            }
        }
    }

    // What follows the convolution.
    void store_vector(Vector sum, int64_t at) const {
        store(out + at, map ? modulated(load(map + at), load(logits + at)) + sum : leaky_relu(sum, slope));
    }

    // The same of channels that are less than a vector, or of two parts.
    void store_some(const float* sums, int64_t pixel, int64_t channel) const {
        for (int64_t c = channel; c < std::min<int64_t>(channel + LANES, s.out_channels); c++) {
            const float sum = sums[c - channel], less = sum * slope;
            const int64_t at = (c / s.part_size() * s.pixels() + pixel) * s.part_size() + c % s.part_size();
            out[at] = map ? modulated(Vector{} + map[at], Vector{} + logits[at])[0] + sum : sum > 0 ? sum : less;
        }
    }

    static Vector modulated(Vector values, Vector logits) { return 2.f * values * sigmoid(logits); }
};

struct Similarity {
    int64_t channels;
    const float *a, *b;
    float* out;

    void operator()(int64_t begin, int64_t end) const {
        for (int64_t pixel = begin; pixel < end; pixel += LANES) {
            const int64_t count = std::min<int64_t>(LANES, end - pixel);
            float sums[LANES] = {};
            for (int64_t k = 0; k < count; k++) sums[k] = dot(a + (pixel + k) * channels, b + (pixel + k) * channels);
            store(sums, sigmoid(load(sums)));
            std::copy_n(sums, count, out + pixel);
        }
    }

    float dot(const float* left, const float* right) const {
        Vector sums = {};
        float sum = 0;
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES) sums += load(left + c) * load(right + c);
        for (; c < channels; c++) sum += left[c] * right[c];
        for (int k = 0; k < LANES; k++) sum += sums[k];
        return sum;
    }
};

}  // namespace ISA
}  // namespace
