#pragma once
// A stable least-significant-digit radix sort of (key, pixel), eleven bits at a time, and the tie rule on top of it.
//
// A pass walks the row from both ends at once, filling each bin from both ends: where many values are equal (a rectified map
// is mostly zero) each end waits for the counter it has just written, and the two waits overlap.
#include <algorithm>
#include <vector>

#include "../common/order.h"
#include "multiversion.h"

namespace saliency_ext {

template <class Key>
struct Entry {
  Key key;
  int32_t pixel;
};

// One row's buffers, reused for all rows of a range.
template <class Key>
struct RowSorter {
  static constexpr int kDigitBits = 11;
  static constexpr int kBins = 1 << kDigitBits;
  static constexpr int kDigits = (8 * sizeof(Key) + kDigitBits - 1) / kDigitBits;
  std::vector<Entry<Key>> front, back;
  std::vector<int32_t> sizes, begins, ends;  // of the bins; sizes for every digit, and twice: of the row's two halves

  explicit RowSorter(int64_t pixels)
      : front(pixels), back(pixels), sizes(2 * kDigits * kBins), begins(kBins), ends(kBins) {}

  static int digit(Key key, int index) { return static_cast<int>((key >> (index * kDigitBits)) & (kBins - 1)); }

  // Sorts front[0, count) stably by key; the last pass hands (entry, place) to `put` instead of moving entries.
  template <class Put>
  void sort(int64_t count, const Put& put) {
    count_digits(count);
    for (int d = 0; d < kDigits; ++d) {
      const bool last = d == kDigits - 1;
      if (!find_bins(d, count)) {
        for (int64_t i = 0; last && i < count; ++i) put(front[i], static_cast<int32_t>(i));
      } else if (last) {
        walk(d, count, put);
      } else {
        walk(d, count, [to = back.data()](const Entry<Key>& entry, int32_t place) { to[place] = entry; });
        front.swap(back);
      }
    }
  }

 private:
  void count_digits(int64_t count) {
    std::fill(sizes.begin(), sizes.end(), 0);
    int32_t *lower = sizes.data(), *upper = lower + kDigits * kBins;
    const int64_t half = count / 2;
    for (int64_t i = 0; i < half; ++i) {
      for (int d = 0; d < kDigits; ++d) {
        ++lower[d * kBins + digit(front[i].key, d)];
        ++upper[d * kBins + digit(front[half + i].key, d)];
      }
    }
    for (int d = 0; count % 2 == 1 && d < kDigits; ++d) ++upper[d * kBins + digit(front[count - 1].key, d)];
    for (int i = 0; i < kDigits * kBins; ++i) lower[i] += upper[i];
  }

  // Where each bin begins and ends; false if all keys share the digit, so that nothing has to move.
  bool find_bins(int index, int64_t count) {
    const int32_t* size = sizes.data() + index * kBins;
    if (size[digit(front[0].key, index)] == count) return false;
    int32_t sum = 0;
    for (int bin = 0; bin < kBins; ++bin) {
      begins[bin] = sum;
      sum += size[bin];
      ends[bin] = sum;
    }
    return true;
  }

  template <class Put>
  void walk(int index, int64_t count, const Put& put) {
    const Entry<Key>* entries = front.data();
    int32_t *first = begins.data(), *last = ends.data();
    for (int64_t i = 0, j = count - 1; i <= j; ++i, --j) {
      const Entry<Key> low = entries[i], high = entries[j];
      put(low, first[digit(low.key, index)]++);
      if (i != j) put(high, --last[digit(high.key, index)]);
    }
  }
};

// Settles ties at random: orders the pixels of every run of equal keys by (tie-break word, pixel).
template <class Key>
class TieSettler {
 public:
  TieSettler(const TieRule& ties, int64_t pixels) : ties_(ties), words_((pixels + 3) / 4 * 4), sorter_(pixels) {}

  void settle(std::vector<Entry<Key>>& sorted, int64_t row) {
    const int64_t count = static_cast<int64_t>(sorted.size());
    bool have_words = false;
    for (int64_t from = 0, to; from < count; from = to) {
      to = from + 1;
      while (to < count && sorted[to].key == sorted[from].key) ++to;
      if (to - from == 1) continue;
      if (to - from > kShortRun && !have_words) {
        make_words(row);
        have_words = true;
      }
      for (int64_t i = from; i < to; ++i) {
        const int32_t pixel = sorted[i].pixel;
        sorter_.front[i - from] = {have_words ? words_[pixel] : ties_.word(row, pixel), pixel};
      }
      order_run(sorted, from, to - from);
    }
  }

 private:
  static constexpr int64_t kShortRun = 1024;  // below, clearing the radix sort's bins costs more than comparing

  // All words of a row: four pixels share a counter block, and the loop vectorises.
  void make_words(int64_t row) {
    const int64_t sample_id = ties_.sample_ids[row], blocks = static_cast<int64_t>(words_.size()) / 4;
    const uint64_t seed = ties_.seed;
    uint32_t* __restrict words = words_.data();
    run_best([=]() SX_INLINE_LAMBDA {
      for (int64_t i = 0; i < blocks; ++i) {
        const Philox4 block = philox_at(seed, sample_id, kTieBreakStream, 0, i);
        words[4 * i] = block.word[0];
        words[4 * i + 1] = block.word[1];
        words[4 * i + 2] = block.word[2];
        words[4 * i + 3] = block.word[3];
      }
    });
  }

  void order_run(std::vector<Entry<Key>>& sorted, int64_t from, int64_t length) {
    if (length > kShortRun) {
      sorter_.sort(length, [&](const Entry<uint32_t>& entry, int32_t place) { sorted[from + place].pixel = entry.pixel; });
      return;
    }
    const auto begin = sorter_.front.begin();
    std::sort(begin, begin + length, [](const Entry<uint32_t>& a, const Entry<uint32_t>& b) {
      return a.key != b.key ? a.key < b.key : a.pixel < b.pixel;
    });
    for (int64_t i = 0; i < length; ++i) sorted[from + i].pixel = sorter_.front[i].pixel;
  }

  const TieRule ties_;
  std::vector<uint32_t> words_;
  RowSorter<uint32_t> sorter_;
};

}  // namespace saliency_ext
