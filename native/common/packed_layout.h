// packed_layout.h: where packed weights lie (sn_weight_format), the same for all devices and for files.
#pragma once

#include <sinter/sinter.h>

#include "common/both.h"

namespace sn {

constexpr int64_t kPanel = 16;         // outputs of a panel
constexpr int64_t kBlock = 32;         // numbers along `in` that share a scale
constexpr int64_t kUnit = 2 * kBlock;  // what `in` is padded to

struct PackedLayout {
  sn_weight_format format;
  int64_t in, out;

  SN_BOTH PackedLayout(sn_weight_format format_, int64_t in_, int64_t out_) : format(format_), in(in_), out(out_) {}

  SN_BOTH int64_t panels() const { return (out + kPanel - 1) / kPanel; }
  SN_BOTH int64_t units() const { return (in + kUnit - 1) / kUnit; }

  // Of a unit of a panel: 64 numbers along `in` of 16 outputs.
  SN_BOTH int64_t unitBytes() const {
    switch (format) {
      case SN_WEIGHT_F32:
        return kUnit * kPanel * 4;
      case SN_WEIGHT_BF16:
        return kUnit * kPanel * 2;
      case SN_WEIGHT_Q8:
        return scaleBytes() + kUnit * kPanel;
      default:
        return scaleBytes() + kUnit * kPanel / 2;
    }
  }
  SN_BOTH static constexpr int64_t scaleBytes() { return 2 * kPanel * 2; }
  SN_BOTH int64_t panelBytes() const { return units() * unitBytes(); }
  SN_BOTH int64_t bytes() const { return panels() * panelBytes(); }
};

}  // namespace sn
