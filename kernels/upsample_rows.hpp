// Rows of an enlarged picture: the body of upsample.cpp, compiled for each instruction set.

namespace {
namespace ISA {

#include "product.hpp"

struct Upsample {
    const Shape& s;
    const float* x;
    float* out;

    void operator()(int64_t begin, int64_t end) const {
        const int64_t line = s.width * s.channels;
        std::vector<float> blended(line);
        for (int64_t r = begin; r < end; r++) {
            const Between y(r % (s.scale * s.height), s.height, s.scale);
            const float* picture = x + r / (s.scale * s.height) * s.height * line;
            blend(picture + y.at[0] * line, picture + y.at[1] * line, y.part, line, blended.data());
            for (int64_t k = 0; k < s.scale * s.width; k++) {
                const Between column(k, s.width, s.scale);
                const float *left = &blended[column.at[0] * s.channels], *right = &blended[column.at[1] * s.channels];
                blend(left, right, column.part, s.channels, out + (r * s.scale * s.width + k) * s.channels);
            }
        }
    }

    static void blend(const float* a, const float* b, float part, int64_t count, float* to) {
        int64_t c = 0;
        for (; c + LANES <= count; c += LANES) store(to + c, load(a + c) * (1 - part) + load(b + c) * part);
        for (; c < count; c++) to[c] = a[c] * (1 - part) + b[c] * part;
    }
};

}  // namespace ISA
}  // namespace
