// The documents of one input file. JSON lines (.jsonl, also .jsonl.gz and .jsonl.zst): one a line, from a named field. Any other file
// is text and is cut at blank lines into documents of about 16 KiB, so that a few large files can be split for held-out data too.
#ifndef POLYMOE_WORKER_DATA_DOCUMENTS_H_
#define POLYMOE_WORKER_DATA_DOCUMENTS_H_

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace polymoe {

// Calls `visit` with each document, in order, never an empty one; stops at the first status that is not OK and returns it. A bad JSON
// line is INVALID_ARGUMENT with file and line number.
absl::Status ForEachDocument(const std::string& path, const std::string& text_field,
                             const std::function<absl::Status(const std::string&)>& visit);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_DOCUMENTS_H_
