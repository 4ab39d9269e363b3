// packed.h: packed weights as sinter.h has them, read number by number.
#pragma once

#include "testing.h"

namespace sn::testing {

constexpr sn_weight_format kFormats[] = {SN_WEIGHT_F32, SN_WEIGHT_BF16, SN_WEIGHT_Q8, SN_WEIGHT_Q4};

// Weights [in, out] in their panels, poisoned until something packs them.
class Packed {
 public:
  Packed(sn_weight_format format, int64_t in, int64_t out) : format_(format), in_(in), out_(out) {
    int64_t bytes = -1;
    REQUIRE(sn_pack_bytes(format, in, out, &bytes) == SN_OK);
    REQUIRE(bytes > 0);
    REQUIRE(bytes % 64 == 0);
    lines_.resize(static_cast<size_t>(bytes / 64));
    std::memset(lines_.data(), 0xff, static_cast<size_t>(bytes));
  }

  // Packs `weights`, [in, out], or [out, in] where outByIn.
  Packed(Machine &on, sn_weight_format format, int64_t in, int64_t out, Tensor &weights, int32_t outByIn = 0)
      : Packed(format, in, out) {
    REQUIRE(on.status(sn_pack(on.stream, format, weights.dtype(), in, out, outByIn, weights, *this)) == SN_OK);
  }

  operator void *() { return lines_.data(); }

  // All bytes, four at a time.
  Ints words() const {
    Ints all(lines_.size() * 16);
    std::memcpy(all.data(), lines_.data(), lines_.size() * 64);
    return all;
  }

  // Of the padded sizes.
  int64_t rows() const { return (in_ + 63) / 64 * 64; }
  int64_t columns() const { return (out_ + 15) / 16 * 16; }

  double weight(int64_t k, int64_t column) const {
    int64_t panel = column / 16, o = column % 16, b = k % 64 / 32, i = k % 32;
    switch (format_) {
      case SN_WEIGHT_F32:
        return number<float>((panel * rows() + k) * 16 + o);
      case SN_WEIGHT_BF16:
        return half((panel * rows() + k / 2 * 2) * 16 + 2 * o + k % 2);
      case SN_WEIGHT_Q8: {
        int64_t unit = (panel * rows() + k) / 64 * (64 + 1024);
        return scale(k, column) * (number<uint8_t>(unit + 64 + ((b * 8 + i / 4) * 16 + o) * 4 + i % 4) - 128);
      }
      default: {
        int64_t unit = (panel * rows() + k) / 64 * (64 + 512);
        int byte = number<uint8_t>(unit + 64 + ((b * 4 + i / 8) * 16 + o) * 4 + i % 4);
        return scale(k, column) * ((i % 8 < 4 ? byte & 15 : byte >> 4) - 8);
      }
    }
  }

  // The scale of the block of number k of a column, in the formats that have one.
  double scale(int64_t k, int64_t column) const {
    int64_t unitBytes = format_ == SN_WEIGHT_Q8 ? 64 + 1024 : 64 + 512;
    int64_t unit = (column / 16 * rows() + k) / 64 * unitBytes;
    return half(unit / 2 + k % 64 / 32 * 16 + column % 16);
  }

 private:
  struct alignas(64) Line {
    unsigned char bytes[64];
  };

  template <typename T>
  T number(int64_t i) const {
    T value;
    std::memcpy(&value, reinterpret_cast<const unsigned char *>(lines_.data()) + i * static_cast<int64_t>(sizeof(T)),
                sizeof(T));
    return value;
  }

  double half(int64_t i) const {
    uint32_t bits = uint32_t{number<uint16_t>(i)} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return static_cast<double>(value);
  }

  sn_weight_format format_;
  int64_t in_, out_;
  std::vector<Line, SharedAllocator<Line>> lines_;
};

}  // namespace sn::testing
