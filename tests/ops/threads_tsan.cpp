// Runs the pool of threads under ThreadSanitizer: several callers at once, and work that throws. Built and run by
// test_threads.py; prints what it did and exits with 0, or the sanitizer or a wrong result ends it.

#include "../../kernels/conv3x3.cpp"

#include <cstdio>
#include <cstdlib>

int main() {
    const int64_t shape[] = {1, 40, 70, 16, 16}, pixels = shape[1] * shape[2];
    std::vector<float> x(pixels * 16), weight(16 * 16 * 9), alone(pixels * 16);
    for (size_t k = 0; k < x.size(); k++) x[k] = float(k * 7919 % 1000) / 1000;
    for (size_t k = 0; k < weight.size(); k++) weight[k] = float(k * 104729 % 1000) / 1000 - .5f;
    vsedvr_conv3x3_float32(shape, x.data(), weight.data(), nullptr, alone.data(), 1, best_isa());

    std::atomic<int> calls{0};
    auto call = [&] {
        for (int threads : {2, 4, 3, 8, 1, 4}) {
            std::vector<float> out(alone.size());
            const int status = vsedvr_conv3x3_float32(shape, x.data(), weight.data(), nullptr, out.data(), threads, best_isa());
            if (status != 0 || std::memcmp(out.data(), alone.data(), out.size() * sizeof(float)) != 0) std::abort();
            calls++;
        }
    };
    std::vector<std::thread> callers;
    for (int k = 0; k < 5; k++) callers.emplace_back(call);
    for (auto& caller : callers) caller.join();

    for (int64_t bad = 0; bad < 20; bad++) {
        auto work = [bad](int64_t begin, int64_t) {
            if (begin == bad) throw std::bad_alloc();
        };
        if (vsedvr::status_of([&] { vsedvr::run_threads(work, 20, 1, 4); }) != 1) std::abort();
    }
    call();
    std::printf("%d calls\n", calls.load());
}
