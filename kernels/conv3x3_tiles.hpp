// Winograd's convolution of a range of tiles: the body of conv3x3.cpp, compiled for each instruction set.

namespace {
namespace ISA {

#include "product.hpp"

constexpr int64_t block = 48;  // tiles that go through the products together; a multiple of ROWS
static_assert(block % ROWS == 0, "");

// Rows or columns of an input tile: B^T d.
inline void transform_input(const Vector d[4], Vector v[4]) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
}

// Rows or columns of an output tile: A^T m.
inline void transform_output(const Vector m[4], Vector y[2]) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
}

// Rows or columns of a kernel: G g.
inline void transform_weight(const float g[3], float u[4]) {
    u[0] = g[0];
    u[1] = (g[0] + g[1] + g[2]) * .5f;
    u[2] = (g[0] - g[1] + g[2]) * .5f;
    u[3] = g[2];
}

// All kernels, transformed, as panels: [panel][16 places][channel][panel_width], zero where there are no more outputs.
inline std::vector<float> pack(const Shape& s, const float* weight) {
    const int64_t panels = (s.out_channels + panel_width - 1) / panel_width;
    std::vector<float> packed(panels * 16 * s.channels * panel_width, 0.f);
    for (int64_t o = 0; o < s.out_channels; o++)
        for (int64_t c = 0; c < s.channels; c++) {
            const float* g = weight + (o * s.channels + c) * 9;
            float rows[3][4], u[4][4];
            for (int k = 0; k < 3; k++) transform_weight(g + 3 * k, rows[k]);
            for (int k = 0; k < 4; k++) {
                const float column[3] = {rows[0][k], rows[1][k], rows[2][k]};
                transform_weight(column, u[k]);  // u[k] is column k
            }
            float* to = packed.data() + (o / panel_width * 16 * s.channels + c) * panel_width + o % panel_width;
            for (int place = 0; place < 16; place++) to[place * s.channels * panel_width] = u[place % 4][place / 4];
        }
    return packed;
}

struct Convolution {
    const Shape& s;
    const float* x;
    const float* packed;
    const float* bias;
    float* out;

    void operator()(int64_t begin, int64_t end) const {
        std::vector<float> inputs(16 * block * s.channels), products(16 * block * panel_width), outside(s.channels, 0.f);
        for (int64_t first = begin; first < end; first += block) {
            const int64_t count = std::min(block, end - first);
            for (int64_t t = 0; t < count; t++) read_tile(first + t, outside.data(), inputs.data() + t * s.channels);
            for (int64_t o = 0; o < s.out_channels; o += panel_width) {
                std::fill(products.begin(), products.end(), 0.f);
                for (int64_t place = 0; place < 16; place++) {
                    const float* panel = packed + (o * 16 + place * panel_width) * s.channels;
                    for (int64_t t = 0; t < count; t += ROWS)
                        multiply(inputs.data() + (place * block + t) * s.channels, s.channels, panel,
                                 products.data() + (place * block + t) * panel_width);
                }
                for (int64_t t = 0; t < count; t++) write_tile(first + t, o, products.data() + t * panel_width);
            }
        }
    }

    // The 4x4 pixels of a tile, transformed: to[place * block * channels + channel].
    void read_tile(int64_t tile, const float* outside, float* to) const {
        const Place p = place_of(tile);
        const float* pixel[4][4];
        for (int64_t r = 0; r < 4; r++)
            for (int64_t k = 0; k < 4; k++) {
                const int64_t row = p.row + r - 1, column = p.column + k - 1;
                const bool inside = row >= 0 && row < s.height && column >= 0 && column < s.width;
                pixel[r][k] = inside ? x + ((p.picture * s.height + row) * s.width + column) * s.channels : outside;
            }
        for (int64_t c = 0; c < s.channels; c += LANES) {
            Vector rows[4][4];
            for (int r = 0; r < 4; r++) {
                const Vector d[4] = {load(pixel[r][0] + c), load(pixel[r][1] + c), load(pixel[r][2] + c), load(pixel[r][3] + c)};
                transform_input(d, rows[r]);
            }
            for (int k = 0; k < 4; k++) {
                const Vector d[4] = {rows[0][k], rows[1][k], rows[2][k], rows[3][k]};
                Vector v[4];
                transform_input(d, v);
                for (int r = 0; r < 4; r++) store(to + (4 * r + k) * block * s.channels + c, v[r]);
            }
        }
    }

    // Output channels o.. of the 2x2 pixels of a tile, from products[place * block * panel_width].
    void write_tile(int64_t tile, int64_t o, const float* products) const {
        const Place p = place_of(tile);
        const int64_t channels = std::min(panel_width, s.out_channels - o);
        float sums[4][panel_width];
        for (int64_t c = 0; c < panel_width; c += LANES) {
            Vector rows[2][4];
            for (int k = 0; k < 4; k++) {
                Vector m[4], y[2];
                for (int r = 0; r < 4; r++) m[r] = load(products + (4 * r + k) * block * panel_width + c);
                transform_output(m, y);
                rows[0][k] = y[0];
                rows[1][k] = y[1];
            }
            for (int r = 0; r < 2; r++) {
                Vector y[2];
                transform_output(rows[r], y);
                store(sums[2 * r] + c, y[0]);
                store(sums[2 * r + 1] + c, y[1]);
            }
        }
        for (int64_t r = 0; r < 2 && p.row + r < s.height; r++)
            for (int64_t k = 0; k < 2 && p.column + k < s.width; k++) {
                float* to = out + ((p.picture * s.height + p.row + r) * s.width + p.column + k) * s.out_channels + o;
                for (int64_t c = 0; c < channels; c++) to[c] = sums[2 * r + k][c] + (bias ? bias[o + c] : 0.f);
            }
    }

    struct Place {
        int64_t picture, row, column;  // of the tile's first output pixel
    };

    Place place_of(int64_t tile) const {
        const int64_t columns = s.tile_columns(), in_picture = tile % (columns * s.tile_rows());
        return {tile / (columns * s.tile_rows()), 2 * (in_picture / columns), 2 * (in_picture % columns)};
    }
};

}  // namespace ISA
}  // namespace
