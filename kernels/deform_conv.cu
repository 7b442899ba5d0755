// Modulated deformable convolution for GPUs: EDVR's `dcn`. vsedvr/ops/cuda.py puts the texts prims.cuh, deform_conv_*.cuh and
// this one together, and CuPy compiles them on the user's machine.
//
// out[p][o] = lrelu(bias[o] + sum over taps t and channels c of weight[o][t][c] * sample(p, t, c)), where sample is
// x[c] at (y + ky + dy, x + kx + dx), bilinear and zero outside, times sigmoid(mask logit). Layouts are NHWC, which is
// what torch calls channels_last:
//   x            (batch, height, width, channels)
//   conv_offset  (batch, height, width, 3 * groups * taps): (dy, dx) pairs by group and tap, then the mask logits
//   offset_bias  (3 * groups * taps) that is added to every pixel of conv_offset, in float32; or null
//   weight       (out_channels, taps, channels)
//   out          (batch, height, width, out_channels)
// Positions and sums are float32 in every type. Pointers lie at multiples of 16 bytes.

// Any channels, groups and odd kernel, without tensor cores. A block has 8x8 pixels and 64 output channels; in steps of 32
// input channels of one tap it multiplies samples (64 pixels x 32) and weights (64 outputs x 32) from shared memory.
// A thread samples 8 channels of one pixel, and has sums for 4 pixels and 4 outputs. Rows have 4 values to spare against
// bank conflicts.
constexpr int any_side = 8, any_step = 32, any_row = any_step + 4, any_outputs = 64;

DEVICE void store_eight(float* to, const float from[8]) {
    ((float4*)to)[0] = make_float4(from[0], from[1], from[2], from[3]);
    ((float4*)to)[1] = make_float4(from[4], from[5], from[6], from[7]);
}

DEVICE float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

// Eight channels, c.., of one sample, zero beyond the last.
template <typename T, typename O>
DEVICE void sample_eight(float* to, const T* x, const O* offsets, const O* offset_bias, int row, int column, int c, int tap, int height, int width,
                         int channels, int groups, int kernel) {
    const float tap_row = float(row + tap / kernel - kernel / 2), tap_column = float(column + tap % kernel - kernel / 2);
    const int group_channels = channels / groups;
    if (group_channels % 8 == 0) {  // all eight are of one group, and lie at a multiple of 16 bytes
        float sum[8] = {};
        if (c < channels) {
            const Offset offset = read_offset(offsets, offset_bias, c / group_channels, tap, groups, kernel * kernel);
            const Between vertical = find_between(tap_row + offset.y, height);
            const Between horizontal = find_between(tap_column + offset.x, width);
            const float mask = sigmoid(offset.logit);
#pragma unroll
            for (int k = 0; k < 4; k++)
                add_eight(sum, x + i64(corner_at(vertical, horizontal, k, width)) * channels + c,
                          mask * corner_weight(vertical, horizontal, k));
        }
        store_eight(to, sum);
        return;
    }
#pragma unroll 1
    for (int k = 0; k < 8; k++) {
        float sum = 0.f;
        if (c + k < channels) {
            const Offset offset = read_offset(offsets, offset_bias, (c + k) / group_channels, tap, groups, kernel * kernel);
            const Between vertical = find_between(tap_row + offset.y, height);
            const Between horizontal = find_between(tap_column + offset.x, width);
#pragma unroll
            for (int i = 0; i < 4; i++)
                sum += corner_weight(vertical, horizontal, i) *
                       to_float(x[i64(corner_at(vertical, horizontal, i, width)) * channels + c + k]);
            sum *= sigmoid(offset.logit);
        }
        to[k] = sum;
    }
}

// Eight input channels, c.., of the weights of one output and tap, zero beyond the last.
template <typename T>
DEVICE void copy_eight(float* to, const T* from, int c, int channels) {
    if (channels % 8 == 0) {
        float values[8] = {};
        if (from && c < channels) add_eight(values, from + c, 1.f);
        store_eight(to, values);
        return;
    }
    for (int k = 0; k < 8; k++) to[k] = from && c + k < channels ? to_float(from[c + k]) : 0.f;
}

template <typename T, typename O>
DEVICE void dcn_any(const T* __restrict__ x, const O* __restrict__ conv_offset, const O* __restrict__ offset_bias,
                    const T* __restrict__ weight, const T* __restrict__ bias, T* __restrict__ out, int height, int width,
                    int channels, int out_channels, int groups, int kernel, float slope) {
    SHARED_MEMORY(shared);
    float* const samples = (float*)shared;
    float* const weights = samples + any_side * any_side * any_row;

    const int taps = kernel * kernel, tile_columns = (width + any_side - 1) / any_side;
    const int tiles = (height + any_side - 1) / any_side * tile_columns, tile = blockIdx.x % tiles;
    const i64 first = i64(blockIdx.x / tiles) * height * width;  // pixel of this picture in the batch
    const int first_row = tile / tile_columns * any_side, first_column = tile % tile_columns * any_side;
    const int first_output = blockIdx.y * any_outputs, thread = threadIdx.x;

    // what this thread puts into shared memory: beyond the border the last pixel once more, never written
    const int place = thread / 4, part = thread % 4 * 8;
    const int row = min(first_row + place / any_side, height - 1), column = min(first_column + place % any_side, width - 1);
    const O* const offsets = conv_offset + (first + i64(row) * width + column) * (3 * groups * taps);
    const int its_output = first_output + place;
    const T* const its_weight = its_output < out_channels ? weight + i64(its_output) * taps * channels : nullptr;
    float* const its_samples = samples + place * any_row + part;
    float* const its_weights = weights + place * any_row + part;

    float sums[4][4] = {};  // of pixels thread / 16 + 16 * i and outputs thread % 16 + 16 * j
#pragma unroll 1
    for (int tap = 0; tap < taps; tap++)
#pragma unroll 1
        for (int c = 0; c < channels; c += any_step) {
            sample_eight(its_samples, x + first * channels, offsets, offset_bias, row, column, c + part, tap, height, width,
                         channels, groups, kernel);
            copy_eight(its_weights, its_weight ? its_weight + i64(tap) * channels : nullptr, c + part, channels);
            __syncthreads();
#pragma unroll 2
            for (int k = 0; k < any_step; k += 4) {
                float4 a[4], b[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    a[i] = *(const float4*)(samples + (thread / 16 + 16 * i) * any_row + k);
                    b[i] = *(const float4*)(weights + (thread % 16 + 16 * i) * any_row + k);
                }
#pragma unroll
                for (int i = 0; i < 16; i++) sums[i / 4][i % 4] += dot(a[i / 4], b[i % 4]);
            }
            __syncthreads();
        }

#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int p = thread / 16 + 16 * i, to_row = first_row + p / any_side, to_column = first_column + p % any_side;
        if (to_row >= height || to_column >= width) continue;
        T* const to = out + (first + i64(to_row) * width + to_column) * out_channels;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int output = first_output + thread % 16 + 16 * j;
            if (output < out_channels) assign(to[output], leaky_relu(sums[i][j] + to_float(bias[output]), slope));
        }
    }
}

#define DCN_MMA(T, O, C, G, NAME)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256, Mma<T, O, C, G>::blocks)                                          \
        NAME(const T* x, const O* conv_offset, const O* offset_bias, const T* weight, const T* bias, T* out,            \
             int height, int width, float slope) {                                                                      \
        dcn_mma<T, O, C, G>(x, conv_offset, offset_bias, weight, bias, out, height, width, slope);                      \
    }

#define DCN_ANY(T, O, NAME)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256, 2)                                                                \
        NAME(const T* x, const O* conv_offset, const O* offset_bias, const T* weight, const T* bias, T* out,            \
             int height, int width, int channels, int out_channels, int groups, int kernel, float slope) {              \
        dcn_any(x, conv_offset, offset_bias, weight, bias, out, height, width, channels, out_channels, groups, kernel,  \
                slope);                                                                                                 \
    }

#define DCN_REGISTERS(C, G, HALF2, NAME)                                                                                \
    extern "C" __global__ void __launch_bounds__(256, 2)                                                                \
        NAME(const Half* x, const Half* conv_offset, const Half* offset_bias, const Half* weight, const Half* bias,     \
             Half* out, int height, int width, float slope) {                                                           \
        dcn_registers<C, G, HALF2>(x, conv_offset, offset_bias, weight, bias, out, height, width, slope);               \
    }

#define DCN_BACKWARD(T, NAME)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256)                                                                   \
        NAME(const T* x, const float* conv_offset, const T* grad_columns, T* columns, float* grad_x,                    \
             float* grad_conv_offset, int first, int count, int height, int width, int channels, int groups, int kernel) { \
        dcn_backward(x, conv_offset, grad_columns, columns, grad_x, grad_conv_offset, first, count, height, width,      \
                     channels, groups, kernel);                                                                         \
    }

DCN_ANY(float, float, vsedvr_any_float32_float32)
DCN_ANY(Half, float, vsedvr_any_float16_float32)
DCN_ANY(Half, Half, vsedvr_any_float16_float16)
DCN_ANY(BFloat16, float, vsedvr_any_bfloat16_float32)
DCN_BACKWARD(float, vsedvr_backward_float32)
DCN_BACKWARD(Half, vsedvr_backward_float16)
DCN_BACKWARD(BFloat16, vsedvr_backward_bfloat16)
#if __CUDA_ARCH__ >= 750
DCN_MMA(Half, float, 32, 4, vsedvr_mma_float16_float32_32_4)
DCN_MMA(Half, float, 64, 8, vsedvr_mma_float16_float32_64_8)
DCN_MMA(Half, float, 128, 8, vsedvr_mma_float16_float32_128_8)
DCN_MMA(Half, Half, 32, 4, vsedvr_mma_float16_float16_32_4)
DCN_MMA(Half, Half, 64, 8, vsedvr_mma_float16_float16_64_8)
DCN_MMA(Half, Half, 128, 8, vsedvr_mma_float16_float16_128_8)
#endif
#if __CUDA_ARCH__ >= 800
#ifdef CANDIDATES  // compiled on demand only: vsedvr/ops/cuda.py
DCN_REGISTERS(32, 4, false, vsedvr_registers_float16_float16_32_4)
DCN_REGISTERS(64, 8, false, vsedvr_registers_float16_float16_64_8)
DCN_REGISTERS(32, 4, true, vsedvr_half2_float16_float16_32_4)
DCN_REGISTERS(64, 8, true, vsedvr_half2_float16_float16_64_8)
#endif
DCN_MMA(BFloat16, float, 32, 4, vsedvr_mma_bfloat16_float32_32_4)
DCN_MMA(BFloat16, float, 64, 8, vsedvr_mma_bfloat16_float32_64_8)
DCN_MMA(BFloat16, float, 128, 8, vsedvr_mma_bfloat16_float32_128_8)
#endif
