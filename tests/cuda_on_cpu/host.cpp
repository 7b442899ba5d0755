// The kernels as a shared library. tests/cuda_runner.py writes kernels.cu, the text that CuPy compiles without prims.cuh, and
// kernel_names.inc beside it, and calls run().

#include "cuda_cpu.hpp"
#include "prims_cpu.hpp"
#include "kernels.cu"

#include <string>
#include <utility>

// Arguments as cuLaunchKernel takes them: a pointer to each.
template <typename... A, size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(args[I])...);
}
template <typename... A>
void call(void (*kernel)(A...), void** args) {
    call(kernel, args, std::index_sequence_for<A...>());
}

static void call_by_name(const std::string& name, void** args) {
#define KERNEL(kernel) \
    if (name == #kernel) return call(kernel, args);
#include "kernel_names.inc"
#undef KERNEL
    throw std::runtime_error("no kernel " + name);
}

// Null, or what went wrong.
extern "C" const char* run(const char* name, unsigned blocks_x, unsigned blocks_y, unsigned threads, size_t shared_bytes,
                           int schedule, void** args) {
    static std::string message;
    try {
        cuda_cpu::launch({blocks_x, blocks_y}, {threads}, shared_bytes, cuda_cpu::Schedule(schedule),
                         [&] { call_by_name(name, args); });
        return nullptr;
    } catch (const std::exception& error) {
        message = error.what();
        return message.c_str();
    }
}
