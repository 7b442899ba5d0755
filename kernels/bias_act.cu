// What follows a convolution of the network, in one pass over memory: its bias, a tensor that is added, and a LeakyReLU; with
// pixel_shuffle in the second kernel. The last part of the text that CuPy compiles (vsedvr/ops/cuda.py).
//
// Layouts are NHWC. Sums are float32 in every type and rounded once. Pointers lie at multiples of 16 bytes; bias and add may be
// null. A slope of 0 is a ReLU, 1 leaves values as they are.

// Eight values that lie together: what a thread reads and writes at a time.
template <typename T>
struct __align__(16) Eight {
    T value[8];
};

DEVICE float activate(float value, float slope) { return value < 0 ? (slope == 0 ? 0.f : value * slope) : value; }

// In place on pixels * channels values. A thread has eight that follow each other in memory.
template <typename T>
DEVICE void bias_act(T* values, const T* __restrict__ bias, const T* __restrict__ add, int pixels, int channels, float slope) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    const i64 first = i64(i) * 8, count = i64(pixels) * channels - first;  // as many values are left from here on
    if (count <= 0) return;
    u32 channel = i % u32(channels) * 8 % u32(channels);
    Eight<T> own = {}, added = {};
    if (count >= 8) {
        own = *(const Eight<T>*)(values + first);
        if (add) added = *(const Eight<T>*)(add + first);
    } else {
#pragma unroll
        for (int k = 0; k < 8; k++) {
            if (k < count) own.value[k] = values[first + k];
            if (k < count && add) added.value[k] = add[first + k];
        }
    }
#pragma unroll
    for (int k = 0; k < 8; k++) {
        float sum = to_float(own.value[k]);
        if (bias) sum += to_float(bias[channel]);
        if (add) sum += to_float(added.value[k]);
        assign(own.value[k], activate(sum, slope));
        if (++channel == channels) channel = 0;
    }
    if (count >= 8) {
        *(Eight<T>*)(values + first) = own;
        return;
    }
#pragma unroll
    for (int k = 0; k < 8; k++)
        if (k < count) values[first + k] = own.value[k];
}

// With pixel_shuffle by 2: x has 4 * channels, and of them 4 * c + 2 * dy + dx becomes channel c of the pixel at (2 * row + dy,
// 2 * column + dx) of out. A thread has eight channels of out, at four pixels.
template <typename T>
DEVICE void bias_act_shuffle(const T* __restrict__ x, const T* __restrict__ bias, T* __restrict__ out, int pixels, int width,
                             int channels, float slope) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x, parts = (channels + 7) / 8;
    const u32 pixel = i / parts, first = i % parts * 8;
    if (pixel >= u32(pixels)) return;
    const u32 row = pixel / width, column = pixel % width;  // the row among those of all pictures
    const T* const from = x + (i64(pixel) * channels + first) * 4;
    T* const to = out + (i64(row) * 4 * width + 2 * column) * channels + first;
    if (channels % 8 == 0) {
        Eight<T> own[4], shuffled;
#pragma unroll
        for (int k = 0; k < 4; k++) own[k] = ((const Eight<T>*)from)[k];
#pragma unroll
        for (int k = 0; k < 4; k++) {
#pragma unroll
            for (int c = 0; c < 8; c++) {
                float sum = to_float(own[c / 2].value[c % 2 * 4 + k]);
                if (bias) sum += to_float(bias[(first + c) * 4 + k]);
                assign(shuffled.value[c], activate(sum, slope));
            }
            *(Eight<T>*)(to + (i64(k / 2) * 2 * width + k % 2) * channels) = shuffled;
        }
        return;
    }
    for (int k = 0; k < 4; k++)
        for (int c = 0; c < 8 && first + c < channels; c++) {
            float sum = to_float(from[c * 4 + k]);
            if (bias) sum += to_float(bias[(first + c) * 4 + k]);
            assign(to[(i64(k / 2) * 2 * width + k % 2) * channels + c], activate(sum, slope));
        }
}

#define BIAS_ACT(T, NAME)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256, 4)                                                                \
        NAME(T* values, const T* bias, const T* add, int pixels, int channels, float slope) {                           \
        bias_act(values, bias, add, pixels, channels, slope);                                                           \
    }

#define BIAS_ACT_SHUFFLE(T, NAME)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256, 4)                                                                \
        NAME(const T* x, const T* bias, T* out, int pixels, int width, int channels, float slope) {                     \
        bias_act_shuffle(x, bias, out, pixels, width, channels, slope);                                                 \
    }

BIAS_ACT(float, vsedvr_bias_act_float32)
BIAS_ACT(Half, vsedvr_bias_act_float16)
BIAS_ACT(BFloat16, vsedvr_bias_act_bfloat16)
BIAS_ACT_SHUFFLE(float, vsedvr_bias_act_shuffle_float32)
BIAS_ACT_SHUFFLE(Half, vsedvr_bias_act_shuffle_float16)
BIAS_ACT_SHUFFLE(BFloat16, vsedvr_bias_act_shuffle_bfloat16)
