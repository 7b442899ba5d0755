// kernels/prims.cuh for CPUs: the same functions, written from the definitions in the PTX ISA.

#pragma once

#include <immintrin.h>

typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

#define DEVICE inline
#define SHARED_MEMORY(name) unsigned char* const name = cuda_cpu::machine.shared

inline float half_to_float(u16 half) { return _cvtsh_ss(half); }
inline u16 float_to_half(float value) { return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT); }
inline u32 pack_half(float first, float second) { return u32(float_to_half(first)) | u32(float_to_half(second)) << 16; }

// Sums of a product and a float16 are exact in double; that is rounded to the nearest float16, even in a tie.
inline u32 fma_half2(u32 a, u32 b, u32 c) {
    u32 pair = 0;
    for (int k = 0; k < 32; k += 16) {
        const double sum = double(half_to_float(u16(a >> k))) * half_to_float(u16(b >> k)) + half_to_float(u16(c >> k));
        const _Float16 half = static_cast<_Float16>(sum);
        u16 bits;
        std::memcpy(&bits, &half, 2);
        pair |= u32(bits) << k;
    }
    return pair;
}
inline u32 mul_half2(u32 a, u32 b) { return fma_half2(a, b, 0x80008000u); }  // -0, which changes no sum

inline float bfloat16_to_float(u16 bits) { return __uint_as_float(u32(bits) << 16); }
inline u32 float_to_bfloat16(float value) {  // the nearest, even in a tie
    if (std::isnan(value)) return 0x7fff;
    const u32 bits = __float_as_uint(value), below = bits >> 16, rest = bits & 0xffff;
    return below + (rest > 0x8000 || (rest == 0x8000 && below % 2));
}
inline u32 pack_bfloat16(float first, float second) { return float_to_bfloat16(first) | float_to_bfloat16(second) << 16; }

// "ldmatrix": lane l has the address of row l % 8 of matrix l / 8; it gets two values of row l / 4 of each matrix.
inline void load_matrices(u32 to[4], const void* row) {
    if (reinterpret_cast<uintptr_t>(row) % 16) throw std::runtime_error("load_matrices: a row that is not at a multiple of 16");
    cuda_cpu::run_in_warp(
        [](cuda_cpu::Thread* lanes) {
            for (int lane = 0; lane < 32; lane++)
                for (int matrix = 0; matrix < 4; matrix++) {
                    const char* from = static_cast<const char*>(lanes[matrix * 8 + lane / 4].operands[1]);
                    std::memcpy(static_cast<u32*>(lanes[lane].operands[0]) + matrix, from + lane % 4 * 4, 4);
                }
        },
        to, row);
}

// "Matrix fragments for mma.m16n8k16": where the lanes hold a (16x16), b (16x8) and the sum (16x8).
template <float convert(u16)>
void multiply_warp(cuda_cpu::Thread* lanes) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const u32* const fragment_a = static_cast<u32*>(lanes[lane].operands[1]);
        const u32* const fragment_b = static_cast<u32*>(lanes[lane].operands[2]);
        const int group = lane / 4, in_group = lane % 4;
        for (int i = 0; i < 8; i++) {  // as the ISA counts the elements of a fragment
            const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
            const int column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
            a[row][column] = convert(u16(fragment_a[i / 2] >> (i % 2 * 16)));
        }
        for (int i = 0; i < 4; i++) {
            const int row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
            b[row][group] = convert(u16(fragment_b[i / 2] >> (i % 2 * 16)));
        }
    }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            const int row = i < 2 ? lane / 4 : lane / 4 + 8, column = lane % 4 * 2 + (i & 1);
            float sum = 0;
            for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
            static_cast<float*>(lanes[lane].operands[0])[i] += sum;
        }
}
inline void multiply_half(float sum[4], const u32 a[4], const u32 b[2]) {
    cuda_cpu::run_in_warp(multiply_warp<half_to_float>, sum, a, b);
}
inline void multiply_bfloat16(float sum[4], const u32 a[4], const u32 b[2]) {
    cuda_cpu::run_in_warp(multiply_warp<bfloat16_to_float>, sum, a, b);
}

// A copy may land at any time before wait_for_copies returns: by schedule at once, as late as can be, or either.
inline void copy_async(void* shared, const void* global) {
    if (reinterpret_cast<uintptr_t>(shared) % 16 || reinterpret_cast<uintptr_t>(global) % 16)
        throw std::runtime_error("copy_async: an address that is not a multiple of 16");
    cuda_cpu::Machine& machine = cuda_cpu::machine;
    bool at_once = machine.schedule == cuda_cpu::reversed;
    if (machine.schedule == cuda_cpu::shuffled) at_once = cuda_cpu::random_number() % 2;
    if (at_once) std::memcpy(shared, global, 16);
    machine.current->copies.push_back({shared, global, at_once ? size_t(0) : size_t(16)});
}
inline void wait_for_copies() {
    for (const cuda_cpu::Copy& copy : cuda_cpu::machine.current->copies) std::memcpy(copy.to, copy.from, copy.bytes);
    cuda_cpu::machine.current->copies.clear();
}
