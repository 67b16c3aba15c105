// The tables and views of the store, and how a database of any older version becomes one of this version.
#ifndef POLYMOE_SERVER_STORE_MIGRATIONS_H_
#define POLYMOE_SERVER_STORE_MIGRATIONS_H_

#include <soci/soci.h>

#include "server/store/dialect.h"

namespace polymoe {

// Brings the database to the newest version, each step in a transaction of its own. FAILED_PRECONDITION for a database that is newer than
// this program. May throw what SOCI throws.
absl::Status Migrate(const Dialect& dialect, soci::session& session);

}  // namespace polymoe

#endif  // POLYMOE_SERVER_STORE_MIGRATIONS_H_
