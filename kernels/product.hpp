// Vectors of one instruction set, and the product that every kernel here ends in. Part of a body of for_each_isa.hpp.

typedef float Vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

constexpr int64_t panel_width = LANES * VECTORS;  // output channels that are computed together

inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

// Adds rows[ROWS][depth] times panel[depth][panel_width] to sums[ROWS][panel_width].
inline void multiply(const float* rows, int64_t depth, const float* panel, float* sums) {
    Vector sum[ROWS][VECTORS];
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sum[r][v] = load(sums + r * panel_width + v * LANES);
    for (int64_t k = 0; k < depth; k++) {
        Vector weight[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) weight[v] = load(panel + k * panel_width + v * LANES);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            const float value = rows[r * depth + k];
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sum[r][v] += weight[v] * value;
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) store(sums + r * panel_width + v * LANES, sum[r][v]);
}
