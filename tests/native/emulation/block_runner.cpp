#include "block_runner.h"

#include <bit>
#include <utility>

#include "observer.h"

namespace sim {

constinit thread_local BlockRunner* current_runner = nullptr;

std::uint64_t Random::next() {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

BlockRunner::BlockRunner() : threads_(new Thread[kMaxThreads]), ready_(new Thread*[kMaxThreads]) {}

void BlockRunner::begin_launch(const Launch& launch) {
  launch_ = &launch;
  main_identity_ = current_identity();
  total_ = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
  blockDim = launch.block;
  gridDim = launch.grid;
  Thread* thread = threads_.get();
  for (unsigned z = 0; z < launch.block.z; ++z) {
    for (unsigned y = 0; y < launch.block.y; ++y) {
      for (unsigned x = 0; x < launch.block.x; ++x) (thread++)->index = {x, y, z};
    }
  }
}

bool BlockRunner::run(uint3 block, bool shuffled, Random random) {
  block_ = blockIdx = block;
  shuffled_ = shuffled;
  random_ = random;
  faulted_ = false;
  exited_ = at_barrier_ = 0;
  ready_begin_ = 0;
  ready_count_ = 0;
  arrays_.begin_block();
  for (int i = 0; i < total_; ++i) {
    create_identity(threads_[i].identity);
    make_ready(threads_[i]);
  }
  while (kThreadSanitizer && fibers_.size() < static_cast<std::size_t>(total_)) {
    fibers_.emplace_back(new Fiber)->create(fiber_main);
  }
  // The memory of shared arrays and stacks passes from block to block: all of the last block happened before all of
  // this one. Within the block nothing is ordered by this.
  release(&start_sync_);
  if (observer != nullptr) observer->begin_block();
  run_next(main_);
  if (observer != nullptr) observer->end_block();
  acquire(&end_sync_);
  if (!faulted_ && exited_ != total_) explain_standstill();
  if (const char* name = arrays_.find_damaged(); name != nullptr && !faulted_) explain_damage(name);
  if (faulted_) reset();
  return !faulted_;
}

// After a fault: fibers are in the middle of kernels that will never continue.
void BlockRunner::reset() {
  for (int i = 0; i < total_; ++i) {
    become(threads_[i].identity);
    release(&end_sync_);
  }
  become(main_identity_);
  acquire(&end_sync_);
  for (int i = 0; i < total_; ++i) {
    destroy_identity(threads_[i].identity);
    threads_[i].fiber = nullptr;
  }
  idle_.clear();
  for (auto& fiber : fibers_) {
    fiber->create(fiber_main);
    if (!kThreadSanitizer) idle_.push_back(fiber.get());
  }
}

// ---- running threads

// A fiber serves the same runner for life, but from launch to launch on different OS threads. So nothing here may
// read a thread_local variable twice: the compiler assumes that its address cannot change within a function.
void BlockRunner::fiber_main() {
  BlockRunner* runner = current_runner;
  fiber_entered(*runner->running_->fiber);
  for (;;) runner->run_thread();
}

__attribute__((noinline)) void BlockRunner::run_thread() {
  Thread& thread = *running_;
  acquire(&start_sync_);
  launch_->run(launch_->arguments);
  release(&end_sync_);
  thread.state = State::kExited;
  ++exited_;
  Fiber* fiber = std::exchange(thread.fiber, nullptr);
  if (!kThreadSanitizer) idle_.push_back(fiber);
  run_next(*fiber);  // a thread that has not started yet runs on this same stack
}

// TSan would take the frames of two threads on one stack for a race, so there each thread has a stack for itself.
Fiber* BlockRunner::take_fiber(const Thread& thread) {
  if (kThreadSanitizer) return fibers_[static_cast<std::size_t>(&thread - threads_.get())].get();
  if (idle_.empty()) {
    fibers_.emplace_back(new Fiber)->create(fiber_main);
    return fibers_.back().get();
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  return fiber;
}

void BlockRunner::make_ready(Thread& thread) {
  thread.state = State::kReady;
  ready_[(ready_begin_ + static_cast<unsigned>(ready_count_++)) % kMaxThreads] = &thread;
}

BlockRunner::Thread& BlockRunner::take_ready() {
  Thread*& first = ready_[ready_begin_ % kMaxThreads];
  if (shuffled_) {
    const auto drawn = static_cast<unsigned>(random_.next() % static_cast<unsigned>(ready_count_));
    std::swap(first, ready_[(ready_begin_ + drawn) % kMaxThreads]);
  }
  ++ready_begin_;
  --ready_count_;
  return *first;
}

// Leaves `self` for the next ready thread, or for run() when there is none.
__attribute__((noinline)) void BlockRunner::run_next(Fiber& self) {
  if (ready_count_ == 0) {
    become(main_identity_);
    if (&self != &main_) switch_fiber(self, main_);
    return;
  }
  running_ = &take_ready();
  if (running_->fiber == nullptr) running_->fiber = take_fiber(*running_);
  threadIdx = running_->index;
  become(running_->identity);
  if (running_->fiber != &self) switch_fiber(self, *running_->fiber);
}

// Goes back to run(), never to return.
void BlockRunner::abandon_block() {
  ready_count_ = 0;
  run_next(*running_->fiber);
}

void BlockRunner::yield_if_shuffled(Thread& thread) {
  if (!shuffled_) return;
  make_ready(thread);
  run_next(*thread.fiber);
}

// ---- waiting for others

void BlockRunner::barrier(Site site) {
  Thread& thread = *running_;
  thread.site = site;
  thread.state = State::kAtBarrier;
  char* sync = &barrier_sync_[barrier_phase_ % 2];
  release(sync);
  if (at_barrier_ == 0) first_at_barrier_ = &thread;
  if (!same_site(first_at_barrier_->site, site)) {
    become(main_identity_);  // for TSan, memory that the explanation takes and frees is not this thread's
    explain_divergence(thread);
    abandon_block();
  }
  if (++at_barrier_ < total_) {
    run_next(*thread.fiber);
  } else {
    at_barrier_ = 0;
    ++barrier_phase_;
    if (observer != nullptr) observer->barrier();
    for (int i = 0; i < total_; ++i) {
      if (&threads_[i] != &thread) make_ready(threads_[i]);
    }
    thread.state = State::kReady;
    yield_if_shuffled(thread);
  }
  acquire(sync);
}

bool BlockRunner::meets(const Thread& waiting, const Thread* other) const {
  return other - threads_.get() < total_ && other->state == State::kAtWarpOp && other->mask == waiting.mask &&
         same_site(other->site, waiting.site);
}

// False while a lane is missing. From the highest lane down: in natural order that one comes last.
bool BlockRunner::complete_warp_op(Thread& last) {
  Thread* warp = warp_of(last);
  for (int lane = kWarp - 1; lane >= 0; --lane) {
    if ((last.mask >> lane & 1u) != 0 && !meets(last, &warp[lane])) return false;
  }
  const auto collect = [&](auto predicate) {
    unsigned lanes = 0;
    for (int lane = 0; lane < kWarp; ++lane) {
      if ((last.mask >> lane & 1u) != 0 && predicate(warp[lane])) lanes |= 1u << lane;
    }
    return lanes;
  };
  const unsigned voters = last.op == WarpOp::kBallot ? collect([](const Thread& t) { return t.value != 0; }) : 0;
  for (int lane = 0; lane < kWarp; ++lane) {
    if ((last.mask >> lane & 1u) == 0) continue;
    Thread& thread = warp[lane];
    if (last.op == WarpOp::kShuffle) {
      const bool defined = thread.source >= 0 && thread.source < kWarp && (last.mask >> thread.source & 1u) != 0;
      thread.result = defined ? warp[thread.source].value : kPoison;
    } else if (last.op == WarpOp::kBallot) {
      thread.result = voters;
    } else if (last.op == WarpOp::kMatchAny) {
      thread.result = collect([&](const Thread& t) { return t.value == thread.value; });
    }
  }
  if (last.op == WarpOp::kSync) ++warp[std::countr_zero(last.mask)].warp_phase;
  for (int lane = 0; lane < kWarp; ++lane) {
    if ((last.mask >> lane & 1u) != 0 && &warp[lane] != &last) make_ready(warp[lane]);
  }
  last.state = State::kReady;
  return true;
}

std::uint64_t BlockRunner::warp_op(WarpOp op, unsigned mask, std::uint64_t value, int source, Site site) {
  Thread& thread = *running_;
  thread.op = op;
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  thread.site = site;
  thread.state = State::kAtWarpOp;
  if ((mask >> lane() & 1u) == 0) {
    become(main_identity_);
    explain_warp_op(thread);
    abandon_block();
  }
  Thread& lowest = warp_of(thread)[std::countr_zero(mask)];
  char* sync = &lowest.warp_sync[lowest.warp_phase % 2];
  if (op == WarpOp::kSync) release(sync);
  if (complete_warp_op(thread)) {
    yield_if_shuffled(thread);
  } else {
    run_next(*thread.fiber);
  }
  if (op == WarpOp::kSync) acquire(sync);
  return thread.result;
}

void* BlockRunner::shared_array(const void* key, std::size_t bytes, const char* name) {
  void* data = arrays_.find(key);
  if (data == nullptr) {
    // For TSan nobody's thread in the block makes the array: it is there from the start.
    become(main_identity_);
    data = arrays_.add(key, bytes, name);
    if (observer != nullptr) observer->shared_array(data, bytes);
    release(data);
    become(running_->identity);
  }
  acquire(data);
  return data;
}

}  // namespace sim
