// The one place of the version that the programs print and export.
#ifndef POLYMOE_COMMON_VERSION_H_
#define POLYMOE_COMMON_VERSION_H_

namespace polymoe {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace polymoe

#endif  // POLYMOE_COMMON_VERSION_H_
