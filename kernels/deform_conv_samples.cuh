// Types, and where the samples of a deformable convolution lie; part of the text that deform_conv.cu ends.

struct Half {
    u16 bits;
};
struct BFloat16 {
    u16 bits;
};

DEVICE float to_float(float value) { return value; }
DEVICE float to_float(Half value) { return half_to_float(value.bits); }
DEVICE float to_float(BFloat16 value) { return __uint_as_float(u32(value.bits) << 16); }

DEVICE void assign(float& to, float value) { to = value; }
DEVICE void assign(Half& to, float value) { to.bits = float_to_half(value); }
DEVICE void assign(BFloat16& to, float value) {
    const u32 bits = __float_as_uint(value);
    to.bits = value != value ? 0x7fc0 : u16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // rounds half to even
}

// sum[k] += weight * from[k] for eight channels. `from` lies at a multiple of 16 bytes.
DEVICE void add_eight(float sum[8], uint4 eight, float weight, Half) {
    const u32 pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        sum[2 * k] += weight * to_float(Half{u16(pairs[k])});
        sum[2 * k + 1] += weight * to_float(Half{u16(pairs[k] >> 16)});
    }
}
DEVICE void add_eight(float sum[8], uint4 eight, float weight, BFloat16) {
    const u32 pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        sum[2 * k] += weight * __uint_as_float(pairs[k] << 16);
        sum[2 * k + 1] += weight * __uint_as_float(pairs[k] & 0xffff0000);
    }
}
template <typename T>
DEVICE void add_eight(float sum[8], const T* from, float weight) {
    add_eight(sum, *(const uint4*)from, weight, T());
}
DEVICE void add_eight(float sum[8], const float* from, float weight) {
    const float4 low = ((const float4*)from)[0], high = ((const float4*)from)[1];
    sum[0] += weight * low.x;
    sum[1] += weight * low.y;
    sum[2] += weight * low.z;
    sum[3] += weight * low.w;
    sum[4] += weight * high.x;
    sum[5] += weight * high.y;
    sum[6] += weight * high.z;
    sum[7] += weight * high.w;
}

DEVICE float sigmoid(float logit) { return __fdividef(1.f, 1.f + __expf(-logit)); }
DEVICE float leaky_relu(float value, float slope) { return value < 0 ? value * slope : value; }

// Linear interpolation along one axis: the two pixels around a position, their weights and the derivatives of these. Pixels
// outside of the picture have 0 for both and `at` the nearest one inside. A NaN position makes a weight NaN.
struct Between {
    int at[2];
    float weight[2], slope[2];
};

DEVICE Between find_between(float position, int size) {
    const float clamped = fminf(fmaxf(position, -1.f), float(size)), low = floorf(clamped), part = clamped - low;
    const bool is_inside = position >= -1.f && position < float(size);
    const int first = int(low);
    const bool has_first = u32(first) < u32(size), has_second = first + 1 < size;
    return {{min(max(first, 0), size - 1), min(first + 1, size - 1)},
            {position != position ? position : has_first ? 1.f - part : 0.f, has_second ? part : 0.f},
            {is_inside && has_first ? -1.f : 0.f, is_inside && has_second ? 1.f : 0.f}};
}

// The four pixels around a position, by row and column: their numbers in the picture, and their weights.
DEVICE int corner_at(const Between& vertical, const Between& horizontal, int k, int width) {
    return vertical.at[k / 2] * width + horizontal.at[k % 2];
}
DEVICE float corner_weight(const Between& vertical, const Between& horizontal, int k) {
    return vertical.weight[k / 2] * horizontal.weight[k % 2];
}

// What the offset convolution says of one sample. Its output has, for each pixel, (y, x) pairs by group and tap, then the
// mask logits.
struct Offset {
    float y, x, logit;
};

template <typename O>
DEVICE Offset read_offset(const O* pixel, int group, int tap, int groups, int taps) {
    const int k = group * taps + tap;
    return {to_float(pixel[2 * k]), to_float(pixel[2 * k + 1]), to_float(pixel[2 * groups * taps + k])};
}

// The same with the bias of the offset convolution, which is null where the convolution has added it.
template <typename O>
DEVICE Offset read_offset(const O* pixel, const O* bias, int group, int tap, int groups, int taps) {
    Offset offset = read_offset(pixel, group, tap, groups, taps);
    if (bias) {
        const Offset more = read_offset(bias, group, tap, groups, taps);
        offset = {offset.y + more.y, offset.x + more.x, offset.logit + more.logit};
    }
    return offset;
}
