// Jobs as tables, as a page and as lines.
#ifndef POLYMOE_POLYCTL_RENDER_JOBS_H_
#define POLYMOE_POLYCTL_RENDER_JOBS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "polymoe/v1/job.pb.h"

#include "polyctl/render/table.h"

namespace polymoe::polyctl {

// `polyctl ls`: one row a job, in the order given.
Table JobsTable(const std::vector<v1::Job>& jobs, absl::Time now, bool wide);

// Why it waits, why it ended, or which attempt it is on; empty when there is nothing to say.
std::string JobNote(const v1::Job& job, absl::Time now);

// `polyctl get`: everything about one job.
std::string JobPage(const v1::Job& job, absl::Time now, bool colour);

// `polyctl watch` on a terminal: a row a job with a progress bar and the curve of its loss.
// `losses`: by job id, ascending in tokens. `width` as in TableOptions: a narrow screen gets shorter bars and curves.
Table WatchTable(const std::vector<v1::Job>& jobs, const std::map<std::string, std::vector<double>>& losses, absl::Time now,
                 int width);

// `polyctl watch` elsewhere: one line without newline.
std::string JobLine(const v1::Job& job, absl::Time now);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_JOBS_H_
