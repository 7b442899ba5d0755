// The deformable convolution on tensor cores, for 16-bit values; part of the text that deform_conv.cu ends.
//
// A block has 8x8 pixels and all output channels. It goes through the input in steps, each one tap of four groups: every
// thread samples one group of one pixel, so a position is computed once. The samples of a step are the left factor of a matrix
// product (64 pixels x channels); the right one, the weights of the tap, comes in stages of 32 channels.
// Both lie twice in shared memory: while the warps multiply one step, the corners of the next are on their way to registers
// and its weights to shared memory. So one barrier a stage is enough: behind it everyone has left what is overwritten.
// Rows have 8 values to spare. So their starts spread over all banks, and load_matrices has no conflicts.

#if __CUDA_ARCH__ >= 750

DEVICE u32 pack(float first, float second, Half) { return pack_half(first, second); }
DEVICE void multiply(float sum[4], const u32 a[4], const u32 b[2], Half) { multiply_half(sum, a, b); }
#if __CUDA_ARCH__ >= 800
DEVICE u32 pack(float first, float second, BFloat16) { return pack_bfloat16(first, second); }
DEVICE void multiply(float sum[4], const u32 a[4], const u32 b[2], BFloat16) { multiply_bfloat16(sum, a, b); }
#endif

// T: type of x, weight and out. O: type of conv_offset. C: channels in and out. G: deformable groups.
template <typename T, typename O, int C, int G>
struct Mma {
    static constexpr int side = 8, pixels = side * side, threads = 4 * pixels, taps = 9;
    static constexpr int group_channels = C / G, vectors = group_channels / 8;
    static constexpr int step_channels = 4 * group_channels, steps = C / step_channels * taps;
    static constexpr int stage_channels = 32, step_stages = step_channels / stage_channels;
    static constexpr int sample_row = step_channels + 8, weight_row = stage_channels + 8, out_row = C + 8;
    // Eight warps share the product: each has row_tiles * 16 pixels and column_tiles * 8 output channels.
    static constexpr int warp_rows = C > 64 ? 2 : 4, warp_columns = 8 / warp_rows;
    static constexpr int row_tiles = pixels / 16 / warp_rows, column_tiles = C / 8 / warp_columns;
    static constexpr int shared_bytes = 2 * (2 * pixels * sample_row + 2 * C * weight_row);
    // At a time on a multiprocessor: what its registers, or Turing's 64 KB of shared memory, have room for.
    static constexpr int blocks = C <= 64 ? 3 : __CUDA_ARCH__ >= 800 ? 2 : 1;
    static_assert(C == 32 || C == 64 || C == 128, "");
    static_assert(group_channels == 8 || group_channels == 16, "");
    static_assert(G % 4 == 0 && step_channels % stage_channels == 0 && column_tiles % 2 == 0, "");
    static_assert(pixels * out_row * 2 <= shared_bytes && shared_bytes <= 48 << 10, "");

    struct __align__(2 * sizeof(O)) Pair {
        O y, x;
    };

    // One tap of four groups, the first of which is 4 * quad. They follow each other by tap, then by quad.
    struct Step {
        int quad, tap;

        DEVICE void advance() {
            tap++;
            if (tap == taps) quad++, tap = 0;
        }
    };

    // Four corners of one group, as they come from memory.
    struct Gathered {
        uint4 corner[4][vectors];
        float weight[4];
    };

    const uint4* x;  // in units of eight channels: 32 bits count 64 GB of them
    const O* offsets;  // of this thread's pixel
    const O* offset_bias;
    const T* weight;
    int height, width, row, column;
    int pixel, quarter;  // of the tile, and of a step's groups: what this thread samples
    float sums[row_tiles][column_tiles][4];

    // Position in the picture, and logit, of this thread's sample in a step.
    DEVICE Offset read(Step step) const {
        const int k = (step.quad * 4 + quarter) * taps + step.tap, tap_row = step.tap * 11 >> 5;  // tap / 3
        const Pair pair = ((const Pair*)offsets)[k];
        Offset position = {to_float(pair.y), to_float(pair.x), to_float(offsets[2 * G * taps + k])};
        if (offset_bias) {
            const Pair more = ((const Pair*)offset_bias)[k];
            position = {position.y + to_float(more.y), position.x + to_float(more.x),
                        position.logit + to_float(offset_bias[2 * G * taps + k])};
        }
        position.y += float(row + tap_row - 1);
        position.x += float(column + step.tap - 3 * tap_row - 1);
        return position;
    }

    DEVICE void gather(Gathered& to, const Offset& position, int quad) const {
        const Between vertical = find_between(position.y, height), horizontal = find_between(position.x, width);
        const float mask = sigmoid(position.logit);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const u32 at = u32(corner_at(vertical, horizontal, k, width)) * (C / 8) + (quad * 4 + quarter) * vectors;
#pragma unroll
            for (int v = 0; v < vectors; v++) to.corner[k][v] = x[at + v];
            to.weight[k] = mask * corner_weight(vertical, horizontal, k);
        }
    }

    DEVICE void blend(T* samples, const Gathered& from) const {
#pragma unroll
        for (int v = 0; v < vectors; v++) {
            float sum[8] = {};
#pragma unroll
            for (int k = 0; k < 4; k++) add_eight(sum, from.corner[k][v], from.weight[k], T());
            u32 pairs[4];
#pragma unroll
            for (int k = 0; k < 4; k++) pairs[k] = pack(sum[2 * k], sum[2 * k + 1], T());
            *(uint4*)(samples + pixel * sample_row + quarter * group_channels + v * 8) =
                make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
        }
    }

    // weight is (C outputs, 9 taps, C inputs); of a stage every output has 32 inputs of one tap.
    DEVICE void copy_weights(T* to, Step step, int part) const {
        const T* from = weight + step.tap * C + step.quad * step_channels + part * stage_channels;
        constexpr int count = C * stage_channels / 8;
#pragma unroll
        for (int first = 0; first < count; first += threads) {
            const int i = first + threadIdx.x;
            if (count % threads && i >= count) break;
            const int output = i / (stage_channels / 8), c = i % (stage_channels / 8) * 8;
            copy_async(to + output * weight_row + c, from + output * (taps * C) + c);
        }
    }

    DEVICE void multiply_stage(const T* samples, const T* weights) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        samples += (warp / warp_columns * row_tiles * 16 + lane % 16) * sample_row + lane / 16 * 8;
        weights += (warp % warp_columns * column_tiles * 8 + lane / 16 * 8 + lane % 8) * weight_row + lane / 8 % 2 * 8;
#pragma unroll
        for (int k = 0; k < stage_channels; k += 16) {
            u32 a[row_tiles][4], b[4];
#pragma unroll
            for (int i = 0; i < row_tiles; i++) load_matrices(a[i], samples + i * 16 * sample_row + k);
#pragma unroll
            for (int j = 0; j < column_tiles; j += 2) {
                load_matrices(b, weights + j * 8 * weight_row + k);
#pragma unroll
                for (int i = 0; i < row_tiles; i++) {
                    multiply(sums[i][j], a[i], b, T());
                    multiply(sums[i][j + 1], a[i], b + 2, T());
                }
            }
        }
    }

    DEVICE void sum_all(T* samples, T* weights) {
#pragma unroll
        for (int i = 0; i < row_tiles * column_tiles * 4; i++) sums[i / 4 / column_tiles][i / 4 % column_tiles][i % 4] = 0.f;
        Step current = {0, 0}, ahead = {0, 1};
        Gathered gathered;
        copy_weights(weights, current, 0);
        gather(gathered, read(current), 0);
        Offset next = read(ahead);
        blend(samples, gathered);
#pragma unroll 1
        for (int step = 0; step < steps; step++) {
#pragma unroll
            for (int part = 0; part < step_stages; part++) {
                const int stage = step * step_stages + part;
                T* const next_weights = weights + (stage + 1) % 2 * C * weight_row;
                wait_for_copies();
                __syncthreads();
                if (part + 1 < step_stages) copy_weights(next_weights, current, part + 1);
                else if (step + 1 < steps) copy_weights(next_weights, ahead, 0);
                if (part == 0 && step + 1 < steps) gather(gathered, next, ahead.quad);
                multiply_stage(samples + step % 2 * pixels * sample_row + part * stage_channels,
                               weights + stage % 2 * C * weight_row);
            }
            current = ahead;
            ahead.advance();
            if (step + 2 < steps) next = read(ahead);
            if (step + 1 < steps) blend(samples + (step + 1) % 2 * pixels * sample_row, gathered);
        }
    }

    // Adds the bias, applies the LeakyReLU, and writes 16 bytes at a time by way of shared memory.
    DEVICE void write(T* out, T* shared, const T* bias, int first_row, int first_column, float slope) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        __syncthreads();
#pragma unroll
        for (int j = 0; j < column_tiles; j++) {
            const int output = (warp % warp_columns * column_tiles + j) * 8 + lane % 4 * 2;
            const float bias0 = to_float(bias[output]), bias1 = to_float(bias[output + 1]);
#pragma unroll
            for (int i = 0; i < row_tiles; i++)
#pragma unroll
                for (int k = 0; k < 2; k++) {
                    const int p = (warp / warp_columns * row_tiles + i) * 16 + k * 8 + lane / 4;
                    *(u32*)(shared + p * out_row + output) = pack(leaky_relu(sums[i][j][2 * k] + bias0, slope),
                                                                  leaky_relu(sums[i][j][2 * k + 1] + bias1, slope), T());
                }
        }
        __syncthreads();
#pragma unroll
        for (int first = 0; first < pixels * C / 8; first += threads) {
            const int i = first + threadIdx.x, p = i / (C / 8), part = i % (C / 8) * 8;
            const int to_row = first_row + p / side, to_column = first_column + p % side;
            if (to_row < height && to_column < width)
                *(uint4*)(out + (i64(to_row) * width + to_column) * C + part) = *(const uint4*)(shared + p * out_row + part);
        }
    }
};

template <typename T, typename O, int C, int G>
DEVICE void dcn_mma(const T* __restrict__ x, const O* __restrict__ conv_offset, const O* __restrict__ offset_bias,
                    const T* __restrict__ weight, const T* __restrict__ bias, T* __restrict__ out, int height, int width,
                    float slope) {
    typedef Mma<T, O, C, G> M;
    SHARED_MEMORY(shared);
    T* const samples = (T*)shared;
    T* const weights = samples + 2 * M::pixels * M::sample_row;

    const int tile_columns = (width + M::side - 1) / M::side, tiles = (height + M::side - 1) / M::side * tile_columns;
    const int tile = blockIdx.x % tiles;
    const i64 first = i64(blockIdx.x / tiles) * height * width;  // pixel of this picture in the batch
    const int first_row = tile / tile_columns * M::side, first_column = tile % tile_columns * M::side;

    M m;
    m.pixel = threadIdx.x / 4;
    m.quarter = threadIdx.x % 4;
    m.height = height;
    m.width = width;
    m.row = min(first_row + m.pixel / M::side, height - 1);  // beyond the border the last pixel once more, never written
    m.column = min(first_column + m.pixel % M::side, width - 1);
    m.x = (const uint4*)(x + first * C);
    m.offsets = conv_offset + (first + i64(m.row) * width + m.column) * (3 * G * M::taps);
    m.offset_bias = offset_bias;
    m.weight = weight;
    m.sum_all(samples, weights);
    m.write(out + first * C, samples, bias, first_row, first_column, slope);
}

#endif
