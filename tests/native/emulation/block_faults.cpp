// What went wrong in a block, in words.

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "block_runner.h"

namespace sim {
namespace {

std::string text(const uint3& v) {
  return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")";
}

std::string text(const Site& site) {
  std::string_view file = site.file_name();
  file.remove_prefix(file.find_last_of('/') + 1);  // npos + 1 = 0
  return std::string(file) + ":" + std::to_string(site.line());
}

std::string hex(unsigned mask) {
  char buffer[16];
  std::snprintf(buffer, sizeof(buffer), "0x%08x", mask);
  return buffer;
}

}  // namespace

// Compared by value: one place has several file strings when it is in a header of several translation units.
bool same_site(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::string_view(a.file_name()) == b.file_name());
}

void BlockRunner::fault(const Thread* thread, const std::string& what) {
  faulted_ = true;
  std::string_view name = launch_->kernel;
  if (name.starts_with('(')) name = name.substr(1, name.size() - 2);  // SX_LAUNCH((kernel<A, B>), ...)
  message_ = "kernel '" + std::string(name) + "': block " + text(block_) + ", ";
  if (thread != nullptr) message_ += "thread " + text(thread->index) + ": ";
  message_ += what;
}

void BlockRunner::explain_divergence(const Thread& thread) {
  fault(&thread, "divergent barrier: waits at " + text(thread.site) + ", but thread " + text(first_at_barrier_->index) +
                     " waits at " + text(first_at_barrier_->site));
}

void BlockRunner::explain_warp_op(const Thread& thread) {
  const Thread* warp = warp_of(thread);
  const std::string mine = "warp operation at " + text(thread.site) + " with mask " + hex(thread.mask) + ": ";
  if ((thread.mask >> (&thread - warp) & 1u) == 0) return fault(&thread, mine + "its own lane is not in the mask");
  for (int lane = 0; lane < kWarp; ++lane) {
    const Thread* other = &warp[lane];
    if ((thread.mask >> lane & 1u) == 0 || meets(thread, other)) continue;
    const std::string name = "lane " + std::to_string(lane);
    if (other - threads_.get() >= total_) return fault(&thread, mine + name + " does not exist");
    if (other->state == State::kExited) return fault(&thread, mine + name + " has exited");
    const std::string place = text(other->site);
    if (other->state == State::kAtBarrier) return fault(&thread, mine + name + " waits at the barrier at " + place);
    if (same_site(other->site, thread.site)) {
      return fault(&thread, mine + name + " names a different mask, " + hex(other->mask));
    }
    return fault(&thread, mine + name + " is at a different warp operation, at " + place);
  }
}

// No thread can run, and some have not exited. Warps are looked at first: a lane that is stuck in a warp operation is
// also missing at the barrier.
void BlockRunner::explain_standstill() {
  const Thread* begin = threads_.get();
  const Thread* end = begin + total_;
  const auto first = [&](State state) {
    const Thread* found = std::find_if(begin, end, [state](const Thread& t) { return t.state == state; });
    return found == end ? nullptr : found;
  };
  if (const Thread* stuck = first(State::kAtWarpOp)) return explain_warp_op(*stuck);
  const Thread* waiting = first(State::kAtBarrier);
  const Thread* gone = first(State::kExited);
  fault(waiting, "barrier not reached by all threads: waits at " + text(waiting->site) + ", but thread " +
                     text(gone->index) + " has exited");
}

void BlockRunner::explain_damage(const char* array) {
  fault(nullptr, std::string("out-of-bounds shared write: bytes beside '") + array + "' were overwritten");
}

}  // namespace sim
