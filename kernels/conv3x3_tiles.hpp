// Winograd's convolution of a range of tiles, and the packing of its weights: the body of conv3x3.cpp, compiled for each
// instruction set.

namespace {
namespace ISA {

#include "product.hpp"

constexpr int64_t block = 24, small_block = 12;  // tiles that go through the products together; multiples of ROWS
static_assert(block % ROWS == 0 && small_block % ROWS == 0, "");
constexpr int64_t depth_step = 32;  // channels that are added up at a time: sums of sums round less than one long sum
static_assert(VECTORS == 2, "the last panel has one vector or all");

constexpr double root_half = 0.70710678118654752440, root_two = 1.41421356237309504880;
constexpr float a = float(root_half), b = float(root_two), a3 = float(root_half / 2), b3 = float(root_two * 2);

// Rows or columns of an input tile: B^T d.
inline void transform_input(const Vector d[6], Vector v[6]) {
    const Vector even_a = d[4] - 2.f * d[2], odd_a = d[3] - 2.f * d[1];
    const Vector even_b = d[4] - .5f * d[2], odd_b = d[3] - .5f * d[1];
    v[0] = d[0] + d[4] - 2.5f * d[2];
    v[1] = even_a + a * odd_a;
    v[2] = even_a - a * odd_a;
    v[3] = even_b + b * odd_b;
    v[4] = even_b - b * odd_b;
    v[5] = d[1] + d[5] - 2.5f * d[3];
}

// Rows or columns of an output tile: A^T m.
inline void transform_output(const Vector m[6], Vector y[4]) {
    const Vector sum_a = m[1] + m[2], sum_b = m[3] + m[4], difference_a = m[1] - m[2], difference_b = m[3] - m[4];
    y[0] = m[0] + sum_a + sum_b;
    y[1] = a * difference_a + b * difference_b;
    y[2] = .5f * sum_a + 2.f * sum_b;
    y[3] = m[5] + a3 * difference_a + b3 * difference_b;
}

// Rows or columns of a kernel: G g. In double, since it is done once.
inline void transform_weight(const double g[3], double u[6]) {
    const double points[5] = {0, root_half, -root_half, root_two, -root_two};
    for (int j = 0; j < 5; j++) {
        double scale = 1;
        for (int k = 0; k < 5; k++)
            if (k != j) scale *= points[j] - points[k];
        u[j] = (g[0] + points[j] * (g[1] + points[j] * g[2])) / scale;
    }
    u[5] = g[2];
}

// The columns of the product are the output channels, part after part, each in whole vectors: the last vector of a part reaches
// back over the one before it where they do not come out even, and a part of less than a vector is filled up. Panels of columns
// are panel_width wide; the last one may be one vector narrower.
inline int64_t part_columns(const Shape& s) { return (s.part_size() + LANES - 1) / LANES * LANES; }
inline int64_t all_columns(const Shape& s) { return s.parts() * part_columns(s); }
// The channel, within its part, of the first column of a vector.
inline int64_t first_channel(const Shape& s, int64_t column) {
    return std::max<int64_t>(std::min(column % part_columns(s) / LANES * LANES, s.part_size() - LANES), 0);
}
inline int64_t width_of_panel(const Shape& s, int64_t first) { return std::min(panel_width, all_columns(s) - first); }

// Weights are read once for a block, so it is as large as the second cache has room for beside them.
inline int64_t block_of(const Shape& s) { return s.depth() >= 128 ? small_block : block; }

// Tiles that a thread takes at a time: so many that each thread gets several times some, and if possible whole blocks.
inline int64_t piece_of(const Shape& s, int threads) {
    const int64_t share = s.tiles() / (4 * threads), block = share < block_of(s) ? small_block : block_of(s);
    return block * std::max<int64_t>(std::min(share, int64_t(48)) / block, 1);
}

inline int64_t packed_floats(const Shape& s) { return (36 * s.depth() + 1) * all_columns(s); }

// Some input channels of the packed form, [panel][36 places][channel][column], with the bias of every column behind it. Zero
// where a column has no output channel.
struct Packing {
    const Shape& s;
    const float *weight, *bias;
    float* packed;

    void operator()(int64_t begin, int64_t end) const {
        const int64_t depth = s.depth(), columns = all_columns(s);
        for (int64_t column = 0; column < columns; column++) {
            const int64_t part = column / part_columns(s), in_part = first_channel(s, column) + column % LANES;
            const bool filling = in_part >= s.part_size();
            const int64_t o = in_part * s.parts() + part, first = column / panel_width * panel_width;
            const int64_t width = width_of_panel(s, first);
            for (int64_t c = begin; c < end; c++) {
                double u[36] = {};
                if (!filling) transform(weight + (o * depth + c) * 9, u);
                float* to = packed + (36 * first * depth + c * width) + column - first;
                for (int place = 0; place < 36; place++) to[place * depth * width] = float(u[place]);
            }
            if (begin == 0) packed[36 * depth * columns + column] = bias && !filling ? bias[o] : 0.f;
        }
    }

    static void transform(const float* g, double u[36]) {
        double rows[3][6];
        for (int k = 0; k < 3; k++) {
            const double row[3] = {g[3 * k], g[3 * k + 1], g[3 * k + 2]};
            transform_weight(row, rows[k]);
        }
        for (int k = 0; k < 6; k++) {
            const double column[3] = {rows[0][k], rows[1][k], rows[2][k]};
            double transformed[6];
            transform_weight(column, transformed);
            for (int r = 0; r < 6; r++) u[6 * r + k] = transformed[r];
        }
    }
};

struct Convolution {
    const Shape& s;
    const float *x, *x2, *packed, *add;
    float* out;
    float slope;

    void operator()(int64_t begin, int64_t end) const {
        const int64_t depth = s.depth(), columns = all_columns(s), block = block_of(s);
        // A vector more between the places, or they would be multiples of 4096 bytes apart, all in one set of the cache. At
        // its end a pixel of few channels has room for its vector, too.
        const int64_t input_stride = block * depth + LANES, product_stride = block * panel_width + LANES;
        const int64_t window = 36 * std::max<int64_t>(std::max(s.channels, s.channels2), LANES);
        const Floats memory = new_floats(36 * (input_stride + product_stride) + window + 16 * block * panel_width);
        float *const inputs = memory.get(), *const products = inputs + 36 * input_stride;
        float *const pixels = products + 36 * product_stride, *const outputs = pixels + window;
        for (int64_t first = begin; first < end; first += block) {
            const int64_t count = std::min(block, end - first);
            for (int64_t t = 0; t < count; t++) {
                read_tile(first + t, x, s.channels, 0, pixels, inputs + t * depth, input_stride);
                if (s.channels2)
                    read_tile(first + t, x2, s.channels2, s.enlarge, pixels, inputs + t * depth + s.channels, input_stride);
            }
            for (int64_t o = 0; o < columns; o += panel_width) {
                const int64_t width = width_of_panel(s, o);
                if (width == panel_width) multiply_panel<VECTORS>(inputs, input_stride, count, o, products, product_stride);
                else multiply_panel<1>(inputs, input_stride, count, o, products, product_stride);
                // All transforms, then all stores to the picture. In turns they would take longer: the transforms' loads seem
                // to wait for stores under way whose addresses end in the same bits
                for (int64_t t = 0; t < count; t++)
                    for (int64_t v = 0; v < width; v += LANES)
                        transform_tile(products + t * width + v, product_stride, outputs + 16 * t * width + v, width);
                for (int64_t t = 0; t < count; t++) write_tile(first + t, o, width, outputs + 16 * t * width);
            }
        }
    }

    // products[place][tile][column] of columns o.., from inputs[place][tile][channel].
    template <int vectors>
    void multiply_panel(const float* inputs, int64_t input_stride, int64_t count, int64_t o, float* products,
                        int64_t product_stride) const {
        constexpr int64_t width = vectors * LANES;
        const int64_t depth = s.depth();
        for (int64_t place = 0; place < 36; place++) {
            const float* panel = packed + (36 * o + place * width) * depth;
            for (int64_t k = 0; k < depth; k += depth_step)
                for (int64_t t = 0; t < count; t += ROWS) {
                    const float* rows = inputs + place * input_stride + t * depth + k;
                    float* sums = products + place * product_stride + t * width;
                    const int64_t step = std::min(depth_step, depth - k);
                    if (k) multiply<vectors, true>(rows, depth, step, panel + k * width, sums);
                    else multiply<vectors, false>(rows, depth, step, panel, sums);
                }
        }
    }

    // The 6x6 pixels of a tile, transformed: to[place * stride + channel]. They are read through `pixels` where they are
    // enlarged, where some lie outside of the picture, and where they are narrower than a vector; then what is written behind
    // the last channel is overwritten by the next tile, or never read.
    void read_tile(int64_t tile, const float* picture, int64_t channels, float enlarge, float* pixels, float* to,
                   int64_t stride) const {
        const Place p = place_of(tile);
        const float* from = picture + ((p.picture * s.height + p.row - 1) * s.width + p.column - 1) * channels;
        int64_t pixel_step = channels, row_step = s.width * channels;
        const bool inside = p.row > 0 && p.column > 0 && p.row + 5 <= s.height && p.column + 5 <= s.width;
        if (enlarge || !inside || channels < LANES) {
            if (enlarge) enlarge_pixels(p, picture, channels, enlarge, pixels);
            else copy_pixels(p, from, channels, pixels);
            from = pixels;
            pixel_step = std::max<int64_t>(channels, LANES);
            row_step = 6 * pixel_step;
        }
        for (int64_t step = 0; step < channels; step += LANES) {
            // The last vector reaches back over the one before it where they do not come out even
            const int64_t c = std::max<int64_t>(std::min(step, channels - LANES), 0);
            // Half of the columns at a time, which AVX-512's registers hold
#pragma GCC unroll 2
            for (int half = 0; half < 2; half++) {
                Vector columns[3][6];
#pragma GCC unroll 6
                for (int r = 0; r < 6; r++) {
                    Vector d[6], v[6];
#pragma GCC unroll 6
                    for (int k = 0; k < 6; k++) d[k] = load(from + r * row_step + k * pixel_step + c);
                    transform_input(d, v);
#pragma GCC unroll 3
                    for (int k = 0; k < 3; k++) columns[k][r] = v[3 * half + k];
                }
#pragma GCC unroll 3
                for (int k = 0; k < 3; k++) {
                    Vector v[6];
                    transform_input(columns[k], v);
#pragma GCC unroll 6
                    for (int r = 0; r < 6; r++) store(to + (6 * r + 3 * half + k) * stride + c, v[r]);
                }
            }
        }
    }

    struct Place {
        int64_t picture, row, column;  // of the tile's first output pixel
    };

    // pixels[6][6][channel], at least a vector each; zero outside of the picture. `from` is where the first one would lie.
    void copy_pixels(const Place& p, const float* from, int64_t channels, float* pixels) const {
        const int64_t wide = std::max<int64_t>(channels, LANES);
        std::fill_n(pixels, 36 * wide, 0.f);
        for (int64_t r = 0; r < 6; r++)
            for (int64_t k = 0; k < 6; k++) {
                const int64_t row = p.row + r - 1, column = p.column + k - 1;
                if (row >= 0 && row < s.height && column >= 0 && column < s.width)
                    std::copy_n(from + (r * s.width + k) * channels, channels, pixels + (6 * r + k) * wide);
            }
    }

    // The two pixels of a half as large picture around a pixel, and their weights; bilinear, with the edges repeated.
    struct Between {
        int64_t at[2];
        float weight[2];
        Between(int64_t position, int64_t size, float factor) : weight{.75f * factor, .25f * factor} {
            at[0] = position / 2;
            at[1] = std::min(std::max<int64_t>(at[0] + (position % 2 ? 1 : -1), 0), size / 2 - 1);
        }
    };

    // As copy_pixels, of a picture of half the size.
    void enlarge_pixels(const Place& p, const float* picture, int64_t channels, float factor, float* pixels) const {
        const int64_t wide = std::max<int64_t>(channels, LANES), line = s.width / 2 * channels;
        const float* first = picture + p.picture * (s.height / 2) * line;
        for (int64_t r = 0; r < 6; r++)
            for (int64_t k = 0; k < 6; k++) {
                const int64_t row = p.row + r - 1, column = p.column + k - 1;
                float* to = pixels + (6 * r + k) * wide;
                if (row < 0 || row >= s.height || column < 0 || column >= s.width) {
                    std::fill_n(to, wide, 0.f);
                    continue;
                }
                const Between y(row, s.height, factor), x(column, s.width, 1);
                const float *near_ = first + y.at[0] * line, *far_ = first + y.at[1] * line;
                const float* const corner[4] = {near_ + x.at[0] * channels, near_ + x.at[1] * channels,
                                                far_ + x.at[0] * channels, far_ + x.at[1] * channels};
                const float weight[4] = {y.weight[0] * x.weight[0], y.weight[0] * x.weight[1], y.weight[1] * x.weight[0],
                                         y.weight[1] * x.weight[1]};
                blend(corner, weight, channels, to);
            }
    }

    static void blend(const float* const corner[4], const float weight[4], int64_t channels, float* to) {
        for (int64_t step = 0; step < channels && channels >= LANES; step += LANES) {
            const int64_t c = std::min(step, channels - LANES);  // the last vector reaches back here, too
            store(to + c, load(corner[0] + c) * weight[0] + load(corner[1] + c) * weight[1] + load(corner[2] + c) * weight[2] +
                              load(corner[3] + c) * weight[3]);
        }
        for (int64_t c = 0; c < channels && channels < LANES; c++)
            to[c] = corner[0][c] * weight[0] + corner[1][c] * weight[1] + corner[2][c] * weight[2] + corner[3][c] * weight[3];
    }

    // One vector of the 4x4 output pixels of a tile, to[pixel * width], from products[place * stride].
    static void transform_tile(const float* products, int64_t stride, float* to, int64_t width) {
        Vector columns[4][6];
#pragma GCC unroll 1
        for (int k = 0; k < 6; k++) {
            Vector m[6], y[4];
            for (int r = 0; r < 6; r++) m[r] = load(products + (6 * r + k) * stride);
            transform_output(m, y);
            for (int r = 0; r < 4; r++) columns[r][k] = y[r];
        }
#pragma GCC unroll 1
        for (int r = 0; r < 4; r++) {
            Vector y[4];
            transform_output(columns[r], y);
            for (int k = 0; k < 4; k++) store(to + (4 * r + k) * width, y[k]);
        }
    }

    // Columns o.. of a tile to the picture, from pixels[pixel][width].
    void write_tile(int64_t tile, int64_t o, int64_t width, const float* pixels) const {
        const Place p = place_of(tile);
        const int64_t row_end = std::min<int64_t>(4, s.first_row + s.rows - p.row), end = std::min<int64_t>(4, s.width - p.column);
        const int64_t scale = s.shuffle ? 2 : 1, pixel_step = scale * s.part_size(), row_step = scale * s.width * pixel_step;
        const float* bias = packed + 36 * s.depth() * all_columns(s) + o;
        for (int64_t v = 0; v < width; v += LANES) {
            const int64_t part = (o + v) / part_columns(s), channel = first_channel(s, o + v);
            const int64_t size = std::min<int64_t>(LANES, s.part_size());
            const int64_t row = (p.picture * s.rows + p.row - s.first_row) * scale + part / 2;
            const int64_t start = (row * s.width * scale + p.column * scale + part % 2) * s.part_size() + channel;
            const Vector constant = load(bias + v);
            for (int64_t r = 0; r < row_end; r++)
                for (int64_t k = 0; k < end; k++)
                    finish(load(pixels + (4 * r + k) * width + v) + constant, start + r * row_step + k * pixel_step, size);
        }
    }

    // What follows the convolution, for some output channels of a pixel.
    void finish(Vector value, int64_t at, int64_t size) const {
        if (size == LANES) {
            if (add) value += load(add + at);
            store(out + at, leaky_relu(value, slope));
        } else {
            float values[LANES] = {};
            if (add) std::copy_n(add + at, size, values);
            store(values, leaky_relu(value + load(values), slope));
            for (int64_t k = 0; k < size; k++) out[at + k] = values[k];
        }
    }

    Place place_of(int64_t tile) const {
        const int64_t columns = s.tile_columns(), in_picture = tile % (columns * s.tile_rows());
        return {tile / (columns * s.tile_rows()), s.first_row + 4 * (in_picture / columns), 4 * (in_picture % columns)};
    }
};

}  // namespace ISA
}  // namespace
