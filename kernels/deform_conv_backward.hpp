// The gradients of a range of pictures. Part of the body of deform_conv.cpp.

inline float sum8(Vector8 v) {
    return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

// A picture belongs to one thread: nothing is added to from two sides, and sums have the same order every time.
struct Gradients {
    const Shape& s;
    const float* x;
    const float* conv_offset;
    const float* grad_columns;
    float* columns;
    float* grad_x;
    float* grad_conv_offset;

    void operator()(int64_t begin, int64_t end) const {
        const int64_t n = s.groups * s.taps(), area = s.height * s.width;
        Corners corners(s, true);
        std::vector<float> products(4 * n);
        for (int64_t pixel = begin * area; pixel < end * area; pixel++) {
            const int64_t place = pixel % area;
            corners.find(s, conv_offset + pixel * 3 * n, place / s.width, place % s.width);
            if (s.channels == 8 * s.groups) sample_all<8>(corners, pixel, pixel - place, products.data());
            else sample_all<0>(corners, pixel, pixel - place, products.data());
            finish(corners, products.data(), grad_conv_offset + pixel * 3 * n);
        }
    }

    // All samples of one pixel into columns, and their gradients to the picture from pixel `start` on; products[4][groups *
    // taps] are those of each corner with the gradient of the sample.
    template <int known_width>
    void sample_all(const Corners& corners, int64_t pixel, int64_t start, float* products) const {
        const int64_t width = known_width ? known_width : s.channels / s.groups, taps = s.taps(), n = s.groups * taps;
        const float* grad = grad_columns + pixel * taps * s.channels;
        float* column = columns + pixel * taps * s.channels;
        for (int64_t t = 0; t < taps; t++)
            for (int64_t g = 0, j = t; g < s.groups; g++, j += taps, column += width, grad += width) {
                const float* corner[4];
                float weight[4];
                for (int k = 0; k < 4; k++) {
                    const int64_t from = (start + corners.at[k][j]) * s.channels + g * width;
                    corner[k] = x + from;
                    weight[k] = corners.weight[k][j];
                    products[k * n + j] = add_back(corner[k], grad, weight[k], width, grad_x + from);
                }
                sample(corner, weight, width, column);
            }
    }

    // Adds weight times the gradient of a sample to that of a corner; returns the product of corner and gradient.
    static float add_back(const float* corner, const float* grad, float weight, int64_t width, float* grad_corner) {
        Vector8 sums = {};
        float rest = 0;
        int64_t c = 0;
        for (; c + 8 <= width; c += 8) {
            const Vector8 along = load8(grad + c);
            sums += load8(corner + c) * along;
            *reinterpret_cast<Vector8*>(grad_corner + c) = load8(grad_corner + c) + along * weight;
        }
        for (; c < width; c++) {
            rest += corner[c] * grad[c];
            grad_corner[c] += grad[c] * weight;
        }
        return sum8(sums) + rest;
    }

    void finish(const Corners& corners, const float* products, float* to) const {
        const int64_t n = s.groups * s.taps();
        for (int64_t j = 0; j < n; j++) {
            float by_y = 0, by_x = 0, by_mask = 0;
            for (int k = 0; k < 4; k++) {
                by_y += corners.slope_y[k][j] * products[k * n + j];
                by_x += corners.slope_x[k][j] * products[k * n + j];
                by_mask += corners.weight[k][j] * products[k * n + j];
            }
            to[2 * j] = by_y;
            to[2 * j + 1] = by_x;
            to[2 * n + j] = by_mask * (1 - corners.mask[j]);
        }
    }
};
