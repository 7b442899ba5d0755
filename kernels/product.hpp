// Vectors of one instruction set, and the product that every kernel here ends in. Part of a body of for_each_isa.hpp.

typedef float Vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

constexpr int64_t panel_width = LANES * VECTORS;  // output channels that are computed together

inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

// sums[ROWS][width] = rows[ROWS][depth] times panel[depth][width], or += of it with `adds`; width is vectors * LANES. The
// rows lie `stride` floats apart.
template <int vectors, bool adds>
inline void multiply(const float* rows, int64_t stride, int64_t depth, const float* panel, float* sums) {
    constexpr int64_t width = vectors * LANES;
    Vector sum[ROWS][vectors];
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[r][v] = Vector{};
    for (int64_t k = 0; k < depth; k++) {
        Vector weight[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) weight[v] = load(panel + k * width + v * LANES);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            const float value = rows[r * stride + k];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sum[r][v] += weight[v] * value;
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            float* to = sums + r * width + v * LANES;
            store(to, adds ? load(to) + sum[r][v] : sum[r][v]);
        }
}
