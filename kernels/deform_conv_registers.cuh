// The deformable convolution on tensor cores with its samples in registers, for float16; part of the text that CuPy compiles. It
// is not chosen by default: vsedvr/ops/cuda_dcn.py, OPERATOR.
//
// A block has 8 rows of 16 pixels, a row for each warp, and all output channels. It goes through the input in steps, each one
// tap of four groups. In a step a thread samples one group of two pixels, lane / 4 and lane / 4 + 8 of its row. That is what
// mma.m16n8k16 wants of this lane, if the depths of a product are counted in another order: depth 2 * t + e is channel 4 * j + e
// of group t, and depth 2 * t + 8 + e its channel 4 * j + 2 + e, in the j-th of two products. So samples never lie in shared
// memory. The weights are read to match: 16 bytes of an output's row are its factors in both products.
// Weights lie twice in shared memory: while the warps multiply one step, those of the next are on their way.

#if __CUDA_ARCH__ >= 800

// C: channels in and out. G: deformable groups. HALF2: blends the corners in float16, two channels at a time.
template <int C, int G, bool HALF2>
struct Registers {
    static constexpr int rows = 8, columns = 16, pixels = rows * columns, threads = 256, taps = 9;
    static constexpr int quads = G / 4, step_channels = 32, steps = quads * taps, outputs = C / 8, out_row = C + 8;
    static constexpr int weight_bytes = 2 * C * step_channels * 2, out_bytes = pixels * out_row * 2;
    static constexpr int shared_bytes = weight_bytes > out_bytes ? weight_bytes : out_bytes;
    static_assert(C == 8 * G && (C == 32 || C == 64), "");

    struct __align__(4) Pair {
        Half y, x;
    };

    // One tap of four groups. They follow each other by quad, then by tap.
    struct Step {
        int quad, tap;

        DEVICE void advance() {
            quad++;
            if (quad == quads) tap++, quad = 0;
        }
    };

    // Four corners of one group, as they come from memory.
    struct Gathered {
        uint4 corner[4];
        float weight[4];
    };

    const uint4* x;  // in units of eight channels
    const Half* offsets[2];  // of this thread's two pixels
    const Half* offset_bias;
    const Half* weight;
    int height, width, row, column[2], quarter;
    float sums[outputs][4];

    // Positions in the picture, and logits, of this thread's two samples in a step.
    DEVICE void read(Offset to[2], Step step) const {
        const int k = (step.quad * 4 + quarter) * taps + step.tap, tap_row = step.tap * 11 >> 5;  // tap / 3
        Offset bias = {};
        if (offset_bias) {
            const Pair pair = ((const Pair*)offset_bias)[k];
            bias = {to_float(pair.y), to_float(pair.x), to_float(offset_bias[2 * G * taps + k])};
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const Pair pair = ((const Pair*)offsets[i])[k];
            to[i] = {to_float(pair.y) + bias.y + float(row + tap_row - 1),
                     to_float(pair.x) + bias.x + float(column[i] + step.tap - 3 * tap_row - 1),
                     to_float(offsets[i][2 * G * taps + k]) + bias.logit};
        }
    }

    DEVICE void gather(Gathered& to, const Offset& position, int quad) const {
        const Between vertical = find_between(position.y, height), horizontal = find_between(position.x, width);
        const float mask = sigmoid(position.logit);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            to.corner[k] = x[u32(corner_at(vertical, horizontal, k, width)) * (C / 8) + quad * 4 + quarter];
            to.weight[k] = mask * corner_weight(vertical, horizontal, k);
        }
    }

    // Eight channels of a sample, two in each of `pairs`.
    DEVICE void blend(u32 pairs[4], const Gathered& from) const {
        if (HALF2) {
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const u32 both = pack_half(from.weight[k], from.weight[k]);
                const u32 corner[4] = {from.corner[k].x, from.corner[k].y, from.corner[k].z, from.corner[k].w};
#pragma unroll
                for (int c = 0; c < 4; c++)
                    pairs[c] = k ? fma_half2(corner[c], both, pairs[c]) : mul_half2(corner[c], both);
            }
            return;
        }
        float sum[8] = {};
#pragma unroll
        for (int k = 0; k < 4; k++) add_eight(sum, from.corner[k], from.weight[k], Half());
#pragma unroll
        for (int k = 0; k < 4; k++) pairs[k] = pack_half(sum[2 * k], sum[2 * k + 1]);
    }

    // weight is (C outputs, 9 taps, C inputs); of a step every output has 32 inputs of one tap.
    DEVICE void copy_weights(Half* to, Step step) const {
        const Half* from = weight + step.tap * C + step.quad * step_channels;
        constexpr int count = C * step_channels / 8;
#pragma unroll
        for (int first = 0; first < count; first += threads) {
            const int i = first + threadIdx.x;
            if (count % threads && i >= count) break;
            copy_async(to + i * 8, from + i / 4 * (taps * C) + i % 4 * 8);
        }
    }

    DEVICE void multiply_step(const u32 samples[2][4], const Half* weights) {
        const int lane = threadIdx.x % 32;
        const u32 first[4] = {samples[0][0], samples[1][0], samples[0][1], samples[1][1]};
        const u32 second[4] = {samples[0][2], samples[1][2], samples[0][3], samples[1][3]};
#pragma unroll
        for (int j = 0; j < outputs; j++) {
            const uint4 eight = *(const uint4*)(weights + (j * 8 + lane / 4) * step_channels + lane % 4 * 8);
            const u32 of_first[2] = {eight.x, eight.y}, of_second[2] = {eight.z, eight.w};
            multiply_half(sums[j], first, of_first);
            multiply_half(sums[j], second, of_second);
        }
    }

    DEVICE void sum_all(Half* weights) {
#pragma unroll
        for (int i = 0; i < outputs * 4; i++) sums[i / 4][i % 4] = 0.f;
        Step current = {0, 0}, ahead = {0, 0};
        ahead.advance();
        Gathered gathered[2];
        u32 samples[2][4];
        Offset next[2];
        copy_weights(weights, current);
        read(next, current);
#pragma unroll
        for (int i = 0; i < 2; i++) gather(gathered[i], next[i], 0);
        read(next, ahead);
#pragma unroll
        for (int i = 0; i < 2; i++) blend(samples[i], gathered[i]);
#pragma unroll 1
        for (int step = 0; step < steps; step++) {
            wait_for_copies();
            __syncthreads();
            if (step + 1 < steps) {
                copy_weights(weights + (step + 1) % 2 * C * step_channels, ahead);
#pragma unroll
                for (int i = 0; i < 2; i++) gather(gathered[i], next[i], ahead.quad);
            }
            multiply_step(samples, weights + step % 2 * C * step_channels);
            ahead.advance();
            if (step + 2 < steps) read(next, ahead);
            if (step + 1 < steps)
#pragma unroll
                for (int i = 0; i < 2; i++) blend(samples[i], gathered[i]);
        }
    }

    // Adds the bias, applies the LeakyReLU, and writes 16 bytes at a time by way of shared memory.
    DEVICE void write(Half* out, Half* shared, const Half* bias, int first_row, int first_column, float slope) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        __syncthreads();
#pragma unroll
        for (int j = 0; j < outputs; j++) {
            const int output = j * 8 + lane % 4 * 2;
            const float bias0 = to_float(bias[output]), bias1 = to_float(bias[output + 1]);
#pragma unroll
            for (int k = 0; k < 2; k++)
                *(u32*)(shared + (warp * 16 + k * 8 + lane / 4) * out_row + output) =
                    pack_half(leaky_relu(sums[j][2 * k] + bias0, slope), leaky_relu(sums[j][2 * k + 1] + bias1, slope));
        }
        __syncthreads();
#pragma unroll
        for (int first = 0; first < pixels * C / 8; first += threads) {
            const int i = first + threadIdx.x, p = i / (C / 8), part = i % (C / 8) * 8;
            const int to_row = first_row + p / columns, to_column = first_column + p % columns;
            if (to_row < height && to_column < width)
                *(uint4*)(out + (i64(to_row) * width + to_column) * C + part) = *(const uint4*)(shared + p * out_row + part);
        }
    }
};

template <int C, int G, bool HALF2>
DEVICE void dcn_registers(const Half* __restrict__ x, const Half* __restrict__ conv_offset,
                          const Half* __restrict__ offset_bias, const Half* __restrict__ weight,
                          const Half* __restrict__ bias, Half* __restrict__ out, int height, int width, float slope) {
    typedef Registers<C, G, HALF2> R;
    SHARED_MEMORY(shared);
    const int tile_columns = (width + R::columns - 1) / R::columns, tiles = (height + R::rows - 1) / R::rows * tile_columns;
    const int tile = blockIdx.x % tiles;
    const i64 first = i64(blockIdx.x / tiles) * height * width;  // pixel of this picture in the batch
    const int first_row = tile / tile_columns * R::rows, first_column = tile % tile_columns * R::columns;

    R r;
    r.quarter = threadIdx.x % 4;
    r.height = height;
    r.width = width;
    r.row = min(first_row + int(threadIdx.x / 32), height - 1);  // beyond the border the last pixel once more, never written
    r.x = (const uint4*)(x + first * C);
    r.offset_bias = offset_bias;
    r.weight = weight;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        r.column[i] = min(first_column + int(threadIdx.x % 32 / 4) + 8 * i, width - 1);
        r.offsets[i] = conv_offset + (first + i64(r.row) * width + r.column[i]) * (3 * G * R::taps);
    }
    r.sum_all((Half*)shared);
    r.write(out + first * C, (Half*)shared, bias, first_row, first_column, slope);
}

#endif
