// Runs CUDA kernels on a CPU: include this, then prims_cpu.hpp, then the kernels, and call cuda_cpu::launch.
//
// Every CUDA thread is a fiber with a stack of its own, and all of them run on one thread of the host. A fiber runs until it
// reaches a barrier, an operation of its whole warp, or its end; then the schedule says which one is next: warps run as far
// ahead of each other as barriers let them. So a run can be repeated exactly, and what a missing barrier lets through differs
// from schedule to schedule. Shared memory is filled with NaN before each block. These end a launch with an error:
//   - a barrier or a warp's operation that only some of the threads reach, and lanes that are at different operations
//   - a copy_async that is in flight when its thread ends
//   - a write behind the shared memory that the launch asked for (in a build with AddressSanitizer: any access)
// It shows nothing of speed, bank conflicts or launch limits. x86-64 with the System V ABI only.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// What CUDA C++ knows without a header, as far as the kernels use it.
#define __global__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline dim3 threadIdx, blockIdx, blockDim, gridDim;
using std::max;
using std::min;
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __uint_as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
inline void atomicAdd(float* to, float value) { *to += value; }

namespace cuda_cpu {

enum Schedule { in_order, reversed, shuffled };
enum State { ready, at_barrier, at_warp, finished };

struct Thread;
typedef void (*WarpOperation)(Thread* lanes);  // of all 32 lanes at once

struct Copy {
    void* to;
    const void* from;
    size_t bytes;
};

struct Thread {
    void* stack_pointer;
    std::unique_ptr<char[]> stack;
    State state;
    WarpOperation operation;
    void* operands[3];  // pointers to this lane's operands of the operation
    std::vector<Copy> copies;
};

constexpr size_t stack_bytes = 64 << 10, canary_bytes = 256;

struct Machine {
    std::vector<Thread> threads;
    Thread* current;
    void* stack_pointer;  // of the scheduler
    unsigned char* shared;
    const std::function<void()>* kernel;
    Schedule schedule;
    uint32_t seed;
    std::exception_ptr error;
#ifdef __SANITIZE_ADDRESS__
    const void* stack_bottom;
    size_t stack_size;
#endif
};
inline Machine machine;

inline uint32_t random_number() {
    machine.seed = machine.seed * 1664525 + 1013904223;
    return machine.seed >> 16;
}

// Keeps the registers that a function must keep on the stack, and goes on from another stack.
extern "C" void cuda_cpu_switch(void** from, void* to);
asm(R"(
.text
.globl cuda_cpu_switch
.type cuda_cpu_switch, @function
cuda_cpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuda_cpu_switch, .-cuda_cpu_switch
)");

inline void leave(State state) {
    Thread& thread = *machine.current;
    thread.state = state;
#ifdef __SANITIZE_ADDRESS__
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(state == finished ? nullptr : &fake_stack, machine.stack_bottom, machine.stack_size);
#endif
    cuda_cpu_switch(&thread.stack_pointer, machine.stack_pointer);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack, &machine.stack_bottom, &machine.stack_size);
#endif
}

inline void enter(Thread& thread) {
    machine.current = &thread;
    const unsigned i = unsigned(&thread - machine.threads.data());
    threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
#ifdef __SANITIZE_ADDRESS__
    void* fake_stack;
    __sanitizer_start_switch_fiber(&fake_stack, thread.stack.get(), stack_bytes);
#endif
    cuda_cpu_switch(&machine.stack_pointer, thread.stack_pointer);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

inline void run_thread() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &machine.stack_bottom, &machine.stack_size);
#endif
    try {
        (*machine.kernel)();
        if (!machine.current->copies.empty()) throw std::runtime_error("a thread ended with an asynchronous copy in flight");
    } catch (...) {
        machine.error = std::current_exception();
    }
    leave(finished);
    std::abort();  // nobody enters a finished thread
}

inline void start(Thread& thread) {
    thread.state = ready;
    thread.copies.clear();
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(thread.stack.get(), stack_bytes);  // run_thread's frame of the last block was never left
#endif
    // As if run_thread had been left by cuda_cpu_switch: six registers, then where to go on; the stack is aligned there.
    void** top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(thread.stack.get()) + stack_bytes) & ~uintptr_t(63)) - 2;
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&run_thread);
    for (int k = 0; k < 6; k++) *--top = nullptr;
    thread.stack_pointer = top;
}

// Runs the lanes of a warp up to where each has to wait. True if they can go on: what they waited for was each other.
inline bool run_warp(Thread* lanes) {
    for (int k = 0; k < 32; k++) {
        Thread& thread = lanes[machine.schedule == in_order ? k : 31 - k];
        if (thread.state == ready) enter(thread);
    }
    if (machine.error) std::rethrow_exception(machine.error);
    if (!std::all_of(lanes, lanes + 32, [](const Thread& t) { return t.state == at_warp; })) return false;
    for (int k = 0; k < 32; k++)
        if (lanes[k].operation != lanes[0].operation) throw std::runtime_error("lanes of one warp are at different operations");
    lanes[0].operation(lanes);
    for (int k = 0; k < 32; k++) lanes[k].state = ready;
    return true;
}

// Runs all warps as far as they get without a barrier: each to the end before the next one, or in turns at random.
inline void run_to_barrier() {
    std::vector<Thread*> warps;
    for (size_t first = 0; first < machine.threads.size(); first += 32) warps.push_back(&machine.threads[first]);
    if (machine.schedule == reversed) std::reverse(warps.begin(), warps.end());
    while (!warps.empty()) {
        const size_t k = machine.schedule == shuffled ? random_number() % warps.size() : 0;
        if (!run_warp(warps[k])) warps.erase(warps.begin() + k);
    }
}

inline void run_block() {
    std::vector<Thread>& threads = machine.threads;
    for (Thread& thread : threads) start(thread);
    auto count = [&](State state) {
        return size_t(std::count_if(threads.begin(), threads.end(), [&](const Thread& t) { return t.state == state; }));
    };
    while (true) {
        run_to_barrier();
        if (count(finished) == threads.size()) return;
        if (count(at_warp)) throw std::runtime_error("an operation of a whole warp was reached by a part of it");
        if (count(finished)) throw std::runtime_error("a barrier was reached by a part of the block");
        for (Thread& thread : threads) thread.state = ready;
    }
}

// Runs the kernel for every block of the grid, one after another. Throws std::runtime_error for what the kernel did wrong.
inline void launch(dim3 grid, dim3 block, size_t shared_bytes, Schedule schedule, const std::function<void()>& kernel) {
    const size_t threads = size_t(block.x) * block.y * block.z;
    if (threads % 32 || threads > 1024 || !threads) throw std::runtime_error("a block must have 1 to 32 whole warps");
    if (shared_bytes > 48 << 10) throw std::runtime_error("more shared memory than a launch has without opting in");
    machine.threads.resize(threads);
    for (Thread& thread : machine.threads)
        if (!thread.stack) thread.stack.reset(new char[stack_bytes]);
    machine.kernel = &kernel;
    machine.schedule = schedule;
    machine.seed = 1;
    machine.error = nullptr;
#ifdef __SANITIZE_ADDRESS__
    const size_t behind = 0;  // the sanitizer watches the end
#else
    const size_t behind = canary_bytes;
#endif
    void* arena = nullptr;
    if (posix_memalign(&arena, 128, shared_bytes + behind)) throw std::bad_alloc();
    std::unique_ptr<void, void (*)(void*)> owner(arena, std::free);
    machine.shared = static_cast<unsigned char*>(arena);
    gridDim = grid;
    blockDim = block;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = {x, y, z};
                std::memset(machine.shared, 0xff, shared_bytes);  // NaN in every type
                std::memset(machine.shared + shared_bytes, 0xa5, behind);
                run_block();
                for (size_t k = 0; k < behind; k++)
                    if (machine.shared[shared_bytes + k] != 0xa5) throw std::runtime_error("a write behind the shared memory");
            }
}

// Waits for the other lanes of the warp; `operation` is done when all are there.
inline void run_in_warp(WarpOperation operation, void* a, const void* b, const void* c = nullptr) {
    Thread& thread = *machine.current;
    thread.operation = operation;
    thread.operands[0] = a;
    thread.operands[1] = const_cast<void*>(b);
    thread.operands[2] = const_cast<void*>(c);
    leave(at_warp);
}

}  // namespace cuda_cpu

inline void __syncthreads() { cuda_cpu::leave(cuda_cpu::at_barrier); }
