// What needs inline PTX, and nothing else: the few things that CUDA C++ has no word for without its headers.
//
// No kernel here includes a header: CuPy compiles them at run time on machines that may have none. The tests run the same
// kernels on CPUs; there tests/cuda_on_cpu/prims_cpu.hpp stands in for this file, which only a GPU can check (test_cuda.py).
// Fragments of matrices are as in the PTX ISA, "Warp-level matrix instructions": mma.m16n8k16 with 16-bit values.

typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

#define DEVICE __device__ __forceinline__
#define SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned char name[]

DEVICE float half_to_float(u16 half) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
}

DEVICE u16 float_to_half(float value) {
    u16 half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
}

// Two values rounded to float16; the first lies in the lower bits.
DEVICE u32 pack_half(float first, float second) {
#if __CUDA_ARCH__ >= 800
    u32 pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
#else
    return u32(float_to_half(first)) | u32(float_to_half(second)) << 16;
#endif
}

// Two products of float16, and two products with a sum that are rounded once.
DEVICE u32 mul_half2(u32 a, u32 b) {
    u32 pair;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}

DEVICE u32 fma_half2(u32 a, u32 b, u32 c) {
    u32 pair;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(b), "r"(c));
    return pair;
}

#if __CUDA_ARCH__ >= 750

// Four 8x8 matrices of 16-bit values from shared memory: lane l gives the address of row l % 8 of matrix l / 8, 16 bytes, and
// gets of each matrix the values 2 * (l % 4) and 2 * (l % 4) + 1 of row l / 4.
DEVICE void load_matrices(u32 to[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(u32(__cvta_generic_to_shared(row)))
                 : "memory");
}

// sum (16x8, float32) += a (16x16, float16, rows) * b (16x8, float16, columns)
DEVICE void multiply_half(float sum[4], const u32 a[4], const u32 b[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else  // Turing knows half the depth only; the fragments are the same
    for (int k = 0; k < 2; k++)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                     : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                     : "r"(a[2 * k]), "r"(a[2 * k + 1]), "r"(b[k]));
#endif
}

// 16 bytes from global to shared memory, both at multiples of 16; they are there after wait_for_copies.
DEVICE void copy_async(void* shared, const void* global) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                 ::"r"(u32(__cvta_generic_to_shared(shared))), "l"(global)
                 : "memory");
#else
    *(uint4*)shared = *(const uint4*)global;
#endif
}

// Waits for this thread's copies; other threads see them after the next barrier.
DEVICE void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

#endif

#if __CUDA_ARCH__ >= 800

// As pack_half and multiply_half, in bfloat16.
DEVICE u32 pack_bfloat16(float first, float second) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

DEVICE void multiply_bfloat16(float sum[4], const u32 a[4], const u32 b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
