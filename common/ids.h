// Random identifiers from the kernel's generator.
#ifndef POLYMOE_COMMON_IDS_H_
#define POLYMOE_COMMON_IDS_H_

#include <string>

namespace polymoe {

// A version 4 UUID, 36 characters: request ids, daemon instances.
std::string NewUuid();

// `length` characters of the 32-letter alphabet 0-9a-z without i, l, o, u: job id suffixes. 8 of them are 40 bits.
std::string NewSuffix(int length);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_IDS_H_
