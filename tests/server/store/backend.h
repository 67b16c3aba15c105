// A store of each kind for the tests that hold for both: INSTANTIATE_TEST_SUITE_P(..., Values("sqlite", "postgresql"), BackendName).
#ifndef POLYMOE_TESTS_SERVER_STORE_BACKEND_H_
#define POLYMOE_TESTS_SERVER_STORE_BACKEND_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "server/store/store.h"
#include "tests/fakes/postgres.h"
#include "tests/fakes/temp_dir.h"

namespace polymoe {

class BackendTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (is_postgresql()) {
      static PostgresServer server;  // one for all tests of this process
      postgres_ = &server;
      url_ = postgres_->NewDatabase();
    } else {
      url_ = "sqlite:" + path();
    }
  }

  bool is_postgresql() const { return GetParam() == "postgresql"; }
  std::string path() const { return dir_.path() + "/polymoe.db"; }  // of SQLite's file
  const std::string& url() const { return url_; }
  PostgresServer& postgres() { return *postgres_; }

  std::unique_ptr<Store> Open() {
    absl::StatusOr<std::unique_ptr<Store>> store = OpenStore(url());
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }

 private:
  TempDir dir_;
  std::string url_;
  PostgresServer* postgres_ = nullptr;
};

inline std::string BackendName(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_SERVER_STORE_BACKEND_H_
