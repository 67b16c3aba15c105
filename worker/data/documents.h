// The documents of one input file. JSON lines (.jsonl, also .jsonl.gz and .jsonl.zst): one a line, from a named field. Any other file
// is text and is cut at blank lines into documents of about 16 KiB, so that a few large files can be split for held-out data too; the
// cuts depend on the text alone, not on how it is compressed. A document of white space only is passed over.
#ifndef POLYMOE_WORKER_DATA_DOCUMENTS_H_
#define POLYMOE_WORKER_DATA_DOCUMENTS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"

namespace polymoe {

// Gets a document and how many bytes of the file, as it lies on disk, have been read by now.
using DocumentVisitor = std::function<absl::Status(const std::string& text, uint64_t position)>;

// Visits each document in order; stops at the first status that is not OK and returns it. A bad JSON line is INVALID_ARGUMENT with file
// and line number.
absl::Status ForEachDocument(const std::string& path, const std::string& text_field, const DocumentVisitor& visit);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_DOCUMENTS_H_
