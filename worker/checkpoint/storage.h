// Where checkpoints are: a folder, or an S3-compatible object store. Objects have names relative to the root, with '/' between folders;
// a folder exists as long as there is an object in it.
//
// One thread at a time uses a Storage. Errors name the object in full. Codes: NOT_FOUND no such object; OUT_OF_RANGE it is shorter than
// what was asked for; DATA_LOSS the medium could not read it; FAILED_PRECONDITION or PERMISSION_DENIED for what only a person can put right;
// RESOURCE_EXHAUSTED disk full; UNAVAILABLE the rest, after retries where they make sense.
#ifndef POLYMOE_WORKER_CHECKPOINT_STORAGE_H_
#define POLYMOE_WORKER_CHECKPOINT_STORAGE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace polymoe {

class Storage {
 public:
  virtual ~Storage() = default;

  // Both are all or nothing, and durable when they return: nobody sees a part of an object. `pieces` are joined. Put replaces an object
  // of that name; Create answers ALREADY_EXISTS, and of several that create one at the same time one succeeds.
  virtual absl::Status Put(const std::string& name, absl::Span<const absl::string_view> pieces) = 0;
  virtual absl::Status Create(const std::string& name, absl::string_view content) = 0;

  virtual absl::StatusOr<std::string> Get(const std::string& name) = 0;
  // Fills `to` from byte `offset`.
  virtual absl::Status Read(const std::string& name, uint64_t offset, absl::Span<char> to) = 0;

  // Names directly in a folder ("" is the root), sorted, those of folders with a '/' behind; none when it is not there.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& folder) = 0;
  // Fine when it is not there.
  virtual absl::Status Delete(const std::string& name) = 0;
  // With everything in it. Fine when it is not there.
  virtual absl::Status DeleteFolder(const std::string& folder) = 0;
  // In one step, in place of what was called `to`. UNIMPLEMENTED where the store cannot.
  virtual absl::Status RenameFolder(const std::string& folder, const std::string& to) = 0;

  // The root as a person writes it, without '/' at the end.
  virtual const std::string& root() const = 0;

  std::string Where(const std::string& name) const { return root() + "/" + name; }
};

// Of "s3://BUCKET/PREFIX" (s3_storage.h says what the environment must hold) or a folder, which need not be there yet.
absl::StatusOr<std::unique_ptr<Storage>> OpenStorage(const std::string& root);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_STORAGE_H_
