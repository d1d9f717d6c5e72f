#include "profiler.h"

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <unordered_set>

namespace counting {

Profiler profiler;

namespace {

std::unordered_map<const void*, std::uint32_t> place_numbers;
std::unordered_set<std::uintptr_t> cached_sectors;

// The device's cache: which sectors it holds, whether they were written, and in which order they came.
std::unordered_map<std::uintptr_t, bool> device_sectors;
std::deque<std::uintptr_t> device_queue;
std::size_t device_capacity = 0;

// The kernel's own name, out of what SX_LAUNCH was given.
std::string plain_name(const char* launched) {
  std::string name = launched;
  name.erase(0, name.find_first_not_of("( "));
  return name.substr(0, name.find_first_of("<) "));
}

}  // namespace

void Profiler::add_buffer(const std::string& name, const void* begin, std::int64_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  buffers_.push_back({name, address, address + static_cast<std::uintptr_t>(bytes)});
}

void Profiler::clear() {
  buffers_.clear();
  launches_.clear();
}

void Profiler::begin_launch(const sim::Launch& launch) {
  LaunchCounts counts;
  counts.kernel = plain_name(launch.kernel);
  counts.blocks = static_cast<std::int64_t>(launch.grid.x) * launch.grid.y * launch.grid.z;
  counts.threads = static_cast<std::int64_t>(launch.block.x) * launch.block.y * launch.block.z;
  counts.loads.resize(buffers_.size());
  counts.stores.resize(buffers_.size());
  const auto blocks = static_cast<std::uint64_t>(counts.blocks);
  block_stride_ = most_blocks_ == 0 ? 1 : std::max<std::uint64_t>(1, (blocks + most_blocks_ - 1) / most_blocks_);
  device_capacity = static_cast<std::size_t>(kDeviceCacheBytes / kSector) / block_stride_;  // the blocks counted have a share of it
  launches_.push_back(std::move(counts));
}

// Runs of neighbours, which share what the device's cache holds.
bool Profiler::wants_block(std::uint64_t block) {
  constexpr std::uint64_t kRun = 16;
  counts_this_ = block / kRun % block_stride_ == 0;
  return counts_this_ || run_others_;
}

void Profiler::begin_block() {
  if (!counts_this_) return;
  const auto threads = static_cast<std::size_t>(launches_.back().threads);
  threads_.assign(threads, {});
  visits_.assign(threads, {});
  shared_.clear();
  queue_.assign(static_cast<std::size_t>(kCacheBytes / kSector), 0);
  oldest_ = 0;
  cached_sectors.clear();
  epoch_ = 0;
  running_ = true;
}

void Profiler::shared_array(const void* data, std::size_t bytes) {
  if (!running_) return;
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  shared_.emplace_back(address, address + bytes);
}

std::uint32_t Profiler::place_number(const void* place) {
  return place_numbers.emplace(place, static_cast<std::uint32_t>(place_numbers.size())).first->second;
}

int Profiler::find_buffer(std::uintptr_t address) const {
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    if (address >= buffers_[i].begin && address < buffers_[i].end) return static_cast<int>(i);
  }
  return -1;
}

void Profiler::access(const void* place, std::uintptr_t address, std::uint32_t bytes, Access kind) {
  if (!running_) return;
  const int buffer = find_buffer(address);
  if (buffer < 0 && std::none_of(shared_.begin(), shared_.end(), [&](const auto& array) {
        return address >= array.first && address < array.second;
      })) {
    return;
  }
  const std::size_t thread = (static_cast<std::size_t>(threadIdx.z) * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const std::uint32_t number = place_number(place);
  std::vector<std::uint32_t>& visits = visits_[thread];
  if (visits.size() <= number) visits.resize(number + 1, 0);
  const std::uint64_t order = static_cast<std::uint64_t>(number) << 32 | visits[number]++;
  std::vector<Event>& events = threads_[thread];
  events.push_back({order, address, bytes, epoch_, static_cast<std::uint32_t>(events.size()), kind,
                    static_cast<std::int8_t>(buffer), static_cast<std::uint8_t>(thread % kWarp)});
}

void Profiler::end_block() {
  if (!running_) return;
  running_ = false;
  ++launches_.back().counted_blocks;
  std::vector<Event> all;
  std::vector<Request> requests;
  for (std::size_t warp = 0; warp * kWarp < threads_.size(); ++warp) {
    const std::size_t begin = all.size();
    for (std::size_t thread = warp * kWarp; thread < std::min(threads_.size(), (warp + 1) * kWarp); ++thread) {
      all.insert(all.end(), threads_[thread].begin(), threads_[thread].end());
      std::vector<Event>().swap(threads_[thread]);
    }
    std::sort(all.begin() + static_cast<std::ptrdiff_t>(begin), all.end(), [](const Event& a, const Event& b) {
      return std::tuple(a.order, a.buffer, a.lane) < std::tuple(b.order, b.buffer, b.lane);
    });
    for (std::size_t i = begin; i < all.size();) {
      Request request{all[i].epoch, all[i].turn, static_cast<std::uint32_t>(warp), i, i};
      while (i < all.size() && all[i].order == all[request.first].order && all[i].buffer == all[request.first].buffer) {
        if (std::pair(all[i].epoch, all[i].turn) < std::pair(request.epoch, request.turn)) {
          request.epoch = all[i].epoch, request.turn = all[i].turn;
        }
        ++i;
      }
      request.last = i;
      requests.push_back(request);
    }
  }
  std::sort(requests.begin(), requests.end(), [](const Request& a, const Request& b) {
    return std::tuple(a.epoch, a.turn, a.warp) < std::tuple(b.epoch, b.turn, b.warp);
  });
  for (const Request& request : requests) {
    if (all[request.first].buffer >= 0) {
      count_global(all, request);
    } else {
      count_shared(all, request);
    }
  }
}

void Profiler::end_launch() {
  LaunchCounts& launch = launches_.back();
  for (const auto& [place, counts] : launch.shared_places) {
    launch.shared.worst = std::max(launch.shared.worst, static_cast<double>(counts.first) / static_cast<double>(counts.second));
  }
}

bool Profiler::cached(std::uintptr_t sector) {
  if (!cached_sectors.insert(sector).second) return true;
  cached_sectors.erase(queue_[oldest_]);
  queue_[oldest_] = sector;
  oldest_ = (oldest_ + 1) % queue_.size();
  return false;
}

bool Profiler::device_cached(std::uintptr_t sector, bool written) {
  const auto [entry, is_new] = device_sectors.try_emplace(sector, written);
  if (!is_new) {
    const bool clean = written && !entry->second;
    entry->second = entry->second || written;
    return !clean;
  }
  device_queue.push_back(sector);
  while (device_queue.size() > device_capacity) {
    device_sectors.erase(device_queue.front());
    device_queue.pop_front();
  }
  return false;
}

void Profiler::count_global(const std::vector<Event>& events, const Request& request) {
  LaunchCounts& launch = launches_.back();
  const Event& first = events[request.first];
  std::vector<std::uintptr_t> sectors;
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> ranges;
  for (std::size_t i = request.first; i < request.last; ++i) {
    const Event& event = events[i];
    ranges.emplace_back(event.address, event.address + event.bytes);
    for (std::uintptr_t at = event.address / kSector; at <= (event.address + event.bytes - 1) / kSector; ++at) {
      sectors.push_back(at);
    }
  }
  std::sort(sectors.begin(), sectors.end());
  sectors.erase(std::unique(sectors.begin(), sectors.end()), sectors.end());
  std::sort(ranges.begin(), ranges.end());
  std::uintptr_t asked = 0, reached = 0;
  for (const auto& [begin, end] : ranges) {
    if (end > reached) asked += end - std::max(begin, reached), reached = end;
  }
  const auto count = [&](std::vector<GlobalCounts>& counts, bool written) {
    GlobalCounts& to = counts[static_cast<std::size_t>(first.buffer)];
    ++to.requests;
    to.lanes += static_cast<std::int64_t>(request.last - request.first);
    to.sectors += static_cast<std::int64_t>(sectors.size());
    to.ideal += (static_cast<std::int64_t>(asked) + kSector - 1) / kSector;
    for (const std::uintptr_t sector : sectors) {
      to.traffic += cached(2 * sector + written) ? 0 : kSector;
      to.memory += device_cached(sector, written) ? 0 : kSector;
    }
  };
  if (first.kind != Access::kStore) count(launch.loads, false);
  if (first.kind != Access::kLoad) count(launch.stores, true);
}

// 32 banks of four bytes. Wider accesses take as many turns as lanes of that width fit.
void Profiler::count_shared(const std::vector<Event>& events, const Request& request) {
  SharedCounts& shared = launches_.back().shared;
  const std::uint32_t bytes = events[request.first].bytes;
  const std::size_t lanes_at_once = bytes <= 4 ? kWarp : kWarp * 4 / bytes;
  std::int64_t passes = 0, ideal = 0;
  for (std::size_t begin = request.first; begin < request.last; begin += lanes_at_once) {
    std::vector<std::uintptr_t> words;
    const std::size_t end = std::min(request.last, begin + lanes_at_once);
    for (std::size_t i = begin; i < end; ++i) {
      for (std::uintptr_t word = events[i].address / 4; word <= (events[i].address + bytes - 1) / 4; ++word) words.push_back(word);
    }
    std::sort(words.begin(), words.end());
    if (events[begin].kind != Access::kAtomic) words.erase(std::unique(words.begin(), words.end()), words.end());
    std::int64_t of_bank[kWarp] = {}, most = 0;
    for (const std::uintptr_t word : words) most = std::max(most, ++of_bank[word % kWarp]);
    passes += most;
    ideal += 1;
  }
  ++shared.requests;
  shared.passes += passes;
  shared.ideal += ideal;
  auto& of_place = launches_.back().shared_places[static_cast<std::uint32_t>(events[request.first].order >> 32)];
  of_place.first += passes;
  of_place.second += ideal;
}

}  // namespace counting
