// The gradients of the deformable convolution, any channels, groups and odd kernel; part of the text that deform_conv.cu ends.
//
// For `count` pixels of the batch from `first` on. grad_columns, the gradient of the samples, is (count, taps, channels): the
// product of the output's gradient and the weight. Writes the samples into columns, in the same form, for the weight's
// gradient; writes grad_conv_offset, in the form of conv_offset; adds to grad_x, in the form of x. One thread has one pixel,
// tap and group. Offsets on whole numbers have the derivative to the right, as torchvision's.

template <typename T>
DEVICE void dcn_backward(const T* __restrict__ x, const float* __restrict__ conv_offset, const T* __restrict__ grad_columns,
                         T* __restrict__ columns, float* __restrict__ grad_x, float* __restrict__ grad_conv_offset, int first,
                         int count, int height, int width, int channels, int groups, int kernel) {
    const int taps = kernel * kernel, group_channels = channels / groups;
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= u32(count * taps * groups)) return;
    const int group = i % groups, tap = i / groups % taps, k = group * taps + tap;
    const u32 pixel = first + i / groups / taps, picture = pixel / u32(height * width) * u32(height * width);
    const int place = pixel - picture;
    const i64 start = i64(picture) * channels + group * group_channels;  // of this group in x and grad_x
    x += start;
    grad_x += start;
    grad_columns += i64(i) * group_channels;
    columns += i64(i) * group_channels;

    const Offset offset = read_offset(conv_offset + i64(pixel) * 3 * groups * taps, group, tap, groups, taps);
    const Between vertical = find_between(float(place / width + tap / kernel - kernel / 2) + offset.y, height);
    const Between horizontal = find_between(float(place % width + tap % kernel - kernel / 2) + offset.x, width);
    const float mask = sigmoid(offset.logit);
    float grad_y = 0.f, grad_x_position = 0.f, grad_mask = 0.f;
    for (int c = 0; c < group_channels; c++) {
        const float grad = to_float(grad_columns[c]);
        float sample = 0.f, by_y = 0.f, by_x = 0.f;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const i64 at = i64(corner_at(vertical, horizontal, j, width)) * channels + c;
            const float value = to_float(x[at]), weight = corner_weight(vertical, horizontal, j);
            sample += weight * value;
            by_y += vertical.slope[j / 2] * horizontal.weight[j % 2] * value;
            by_x += vertical.weight[j / 2] * horizontal.slope[j % 2] * value;
            if (weight != 0.f) atomicAdd(grad_x + at, weight * mask * grad);
        }
        assign(columns[c], sample * mask);
        grad_mask += sample * grad;
        grad_y += by_y * grad;
        grad_x_position += by_x * grad;
    }
    float* const to = grad_conv_offset + i64(pixel) * 3 * groups * taps;
    to[2 * k] = grad_y * mask;
    to[2 * k + 1] = grad_x_position * mask;
    to[2 * groups * taps + k] = grad_mask * mask * (1.f - mask);
}
