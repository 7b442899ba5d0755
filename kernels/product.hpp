// Vectors of one instruction set, functions of them, and the product that every kernel here ends in. Part of a body of
// for_each_isa.hpp.

typedef float Vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

constexpr int64_t panel_width = LANES * VECTORS;  // output channels that are computed together

inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

inline Vector leaky_relu(Vector value, float slope) {
    const Vector less = value * slope;
    return value > 0.f ? value : less;
}

// 1 / (1 + exp(-x)) to 2e-7; NaN gives NaN.
inline Vector sigmoid(Vector x) {
    Vector y = x * -1.44269504f, zero = {};
    y = y < -126.f ? zero - 126.f : y;
    y = y > 126.f ? zero + 126.f : y;
    Vector finite = y == y ? y : zero;
    Integers whole = __builtin_convertvector(finite + (finite < 0.f ? zero - .5f : zero + .5f), Integers);
    Vector f = (y - __builtin_convertvector(whole, Vector)) * 0.693147181f;
    Vector p = 1.f + f * (1.f + f * (1.f / 2 + f * (1.f / 6 + f * (1.f / 24 + f * (1.f / 120 + f * (1.f / 720))))));
    Integers bits = (whole + 127) << 23;
    return 1.f / (1.f + p * reinterpret_cast<const Vector&>(bits));
}

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
