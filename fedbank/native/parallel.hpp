// A stated number of threads over independent pieces of work.
#pragma once
#include <atomic>
#include <cstddef>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace fedbank {

template <class Work>
void in_parallel(std::size_t count, unsigned threads, Work work) {
    if (threads <= 1 || count <= 1) {
        for (std::size_t i = 0; i < count; ++i) work(i);
        return;
    }
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error;
    auto run = [&] {
        for (std::size_t i; !failed && (i = next++) < count;) {
            try {
                work(i);
            } catch (...) {
                if (!failed.exchange(true)) error = std::current_exception();
            }
        }
    };
    std::vector<std::thread> others;
    try {
        for (unsigned t = 1; t < threads && t < count; ++t) others.emplace_back(run);
    } catch (const std::system_error&) {  // the machine gives no more threads: fewer do the same work
    }
    run();
    for (auto& thread : others) thread.join();
    if (error) std::rethrow_exception(error);
}

}  // namespace fedbank
