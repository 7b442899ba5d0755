// Uses all of prims.cuh, for test_prims.py: eight warps, each with a matrix product of its own, and conversions.

extern "C" __global__ void vsedvr_prims(const u16* a, const u16* b, const float* values, float* product,
                                        float* product_bfloat16, u32* packed, u32* packed_bfloat16, float* back,
                                        u32* halves) {
    SHARED_MEMORY(shared);
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    u16* const its_a = (u16*)shared + warp * 384;
    u16* const its_b = its_a + 256;
    copy_async(its_a + lane * 8, a + warp * 256 + lane * 8);
    if (lane < 16) copy_async(its_b + lane * 8, b + warp * 128 + lane * 8);
    wait_for_copies();
    __syncthreads();
    u32 fragment_a[4], fragment_b[4];
    load_matrices(fragment_a, its_a + lane % 16 * 16 + lane / 16 * 8);
    load_matrices(fragment_b, its_b + lane % 8 * 16 + lane / 8 % 2 * 8);
    float sum[4] = {1, 2, 3, 4}, sum_bfloat16[4] = {};
    multiply_half(sum, fragment_a, fragment_b);
#if __CUDA_ARCH__ >= 800
    multiply_bfloat16(sum_bfloat16, fragment_a, fragment_b);
    packed_bfloat16[thread] = pack_bfloat16(values[2 * thread], values[2 * thread + 1]);
#endif
    for (int i = 0; i < 4; i++) {
        const int at = warp * 128 + (lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2;
        product[at] = sum[i] - (i + 1);
        product_bfloat16[at] = sum_bfloat16[i];
    }
    packed[thread] = pack_half(values[2 * thread], values[2 * thread + 1]);
    back[thread] = half_to_float(float_to_half(values[thread]));
    const u32 x = ((const u32*)a)[thread], y = ((const u32*)b)[thread];
    halves[thread] = mul_half2(x, y);
    halves[256 + thread] = fma_half2(x, y, packed[thread]);
}
