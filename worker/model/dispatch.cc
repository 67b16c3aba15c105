#include "worker/model/dispatch.h"

#include <algorithm>
#include <cstring>

namespace polymoe {
namespace {

// Channels of one chunk.
enum Channel { kCounts, kRows, kRouting, kChannelsOfAChunk };

template <class Element>
int ChannelOf(const ExpertRows<Element>& chunk, Channel channel) {
  return chunk.index * kChannelsOfAChunk + channel;
}

int32_t RankOf(const ExpertShard& shard, int32_t expert) {
  return expert / shard.count;
}

// `sent`: the chunk's tokens by the rank they go to, each once; `slots` [tokens, ranks]: where they lie there.
template <class Element>
void ListTokens(const BlockContext<Element>& c, const LayerActivations<Element>& a, ExpertRows<Element>& chunk) {
  const int ranks = c.exchange->ranks(), k = c.config.top_k;
  std::fill_n(chunk.slots, int64_t{chunk.tokens()} * ranks, -1);
  std::fill_n(chunk.send_counts, ranks, 0);
  for (int t = chunk.begin; t < chunk.end; ++t) {
    int32_t* slots = chunk.slots + int64_t{t - chunk.begin} * ranks;
    for (int j = 0; j < k; ++j) {
      const int32_t rank = RankOf(c.shard, a.experts[int64_t{t} * k + j]);
      if (slots[rank] < 0) slots[rank] = static_cast<int32_t>(chunk.send_counts[rank]++);
    }
  }
  int32_t base = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    for (int t = chunk.begin; t < chunk.end; ++t) {
      int32_t& slot = chunk.slots[int64_t{t - chunk.begin} * ranks + rank];
      if (slot < 0) continue;
      slot += base;
      chunk.sent[slot] = t;
    }
    base += static_cast<int32_t>(chunk.send_counts[rank]);
  }
  chunk.sent_count = base;
}

template <class Element>
void StartHomeToExperts(const BlockContext<Element>& c, const ExpertRows<Element>& chunk, Channel channel, int64_t row_bytes,
                        const void* from, void* to) {
  c.exchange->Start(ChannelOf(chunk, channel), row_bytes, from, chunk.send_counts, to, chunk.receive_counts);
}

template <class Element>
void StartExpertsToHome(const BlockContext<Element>& c, const ExpertRows<Element>& chunk, Channel channel, int64_t row_bytes,
                        const void* from, void* to) {
  c.exchange->Start(ChannelOf(chunk, channel), row_bytes, from, chunk.receive_counts, to, chunk.send_counts);
}

}  // namespace

template <class Element>
void Announce(const BlockContext<Element>& c, const LayerActivations<Element>& a, ExpertRows<Element>& chunk) {
  ListTokens(c, a, chunk);
  c.exchange->Start(ChannelOf(chunk, kCounts), sizeof(int64_t), chunk.send_counts, chunk.ones, chunk.receive_counts, chunk.ones);
}

template <class Element>
void Send(const BlockContext<Element>& c, const LayerActivations<Element>& a, ExpertRows<Element>& chunk, Wire<Element>& wire) {
  const int ranks = c.exchange->ranks(), d = c.config.hidden, k = c.config.top_k;
  c.ops.gather(chunk.sent_count, d, chunk.sent, a.h2, wire.home);
  // A token's routing: the ids of its experts, then their weights.
  for (int64_t i = 0; i < chunk.sent_count; ++i) {
    const int64_t from = int64_t{chunk.sent[i]} * k;
    std::copy_n(a.experts + from, k, wire.routing_sent + i * 2 * k);
    std::memcpy(wire.routing_sent + i * 2 * k + k, a.weights + from, k * sizeof(float));
  }
  if (!c.exchange->Finish(ChannelOf(chunk, kCounts))) std::fill_n(chunk.receive_counts, ranks, 0);
  int64_t received = 0;
  for (int rank = 0; rank < ranks; ++rank) received += chunk.receive_counts[rank];
  chunk.received = static_cast<int>(received);
  StartHomeToExperts(c, chunk, kRouting, int64_t{2} * k * sizeof(int32_t), wire.routing_sent, wire.routing_received);
  StartHomeToExperts(c, chunk, kRows, d * int64_t{sizeof(Element)}, wire.home, chunk.x_received);
}

template <class Element>
void Receive(const BlockContext<Element>& c, ExpertRows<Element>& chunk, const Wire<Element>& wire) {
  const int k = c.config.top_k;
  c.exchange->Finish(ChannelOf(chunk, kRouting));
  for (int64_t i = 0; i < chunk.received; ++i) {
    std::copy_n(wire.routing_received + i * 2 * k, k, chunk.experts_received + i * k);
    std::memcpy(chunk.weights_received + i * k, wire.routing_received + i * 2 * k + k, k * sizeof(float));
  }
  c.exchange->Finish(ChannelOf(chunk, kRows));
}

template <class Element>
void Return(const BlockContext<Element>& c, const ExpertRows<Element>& chunk, Wire<Element>& wire) {
  StartExpertsToHome(c, chunk, kRows, c.config.hidden * int64_t{sizeof(Element)}, wire.partial, wire.home);
}

template <class Element>
void Collect(const BlockContext<Element>& c, const ExpertRows<Element>& chunk) {
  c.exchange->Finish(ChannelOf(chunk, kRows));
}

template <class Element>
void SendGradients(const BlockContext<Element>& c, const ExpertRows<Element>& chunk, const Element* dx, Wire<Element>& wire) {
  const int d = c.config.hidden;
  c.ops.gather(chunk.sent_count, d, chunk.sent, dx, wire.home);
  StartHomeToExperts(c, chunk, kRows, d * int64_t{sizeof(Element)}, wire.home, wire.dy);
}

template <class Element>
void ReceiveGradients(const BlockContext<Element>& c, const ExpertRows<Element>& chunk) {
  c.exchange->Finish(ChannelOf(chunk, kRows));
}

template <class Element>
void ReturnGradients(const BlockContext<Element>& c, const ExpertRows<Element>& chunk, Wire<Element>& wire) {
  StartExpertsToHome(c, chunk, kRouting, c.config.top_k * int64_t{sizeof(float)}, wire.dweights, wire.dweights_home);
  StartExpertsToHome(c, chunk, kRows, c.config.hidden * int64_t{sizeof(Element)}, wire.partial, wire.home);
}

template <class Element>
void CollectGradients(const BlockContext<Element>& c, const LayerActivations<Element>& a, const ExpertRows<Element>& chunk,
                      const Wire<Element>& wire, float* dweights) {
  const int ranks = c.exchange->ranks(), k = c.config.top_k;
  c.exchange->Finish(ChannelOf(chunk, kRouting));
  // Each choice's gradient comes from the rank that holds the expert.
  for (int t = chunk.begin; t < chunk.end; ++t) {
    const int32_t* slots = chunk.slots + int64_t{t - chunk.begin} * ranks;
    for (int j = 0; j < k; ++j) {
      const int64_t slot = slots[RankOf(c.shard, a.experts[int64_t{t} * k + j])];
      dweights[int64_t{t} * k + j] = wire.dweights_home[slot * k + j];
    }
  }
  c.exchange->Finish(ChannelOf(chunk, kRows));
}

#define POLYMOE_INSTANTIATE(E)                                                                      \
  template void Announce(const BlockContext<E>&, const LayerActivations<E>&, ExpertRows<E>&);       \
  template void Send(const BlockContext<E>&, const LayerActivations<E>&, ExpertRows<E>&, Wire<E>&); \
  template void Receive(const BlockContext<E>&, ExpertRows<E>&, const Wire<E>&);                    \
  template void Return(const BlockContext<E>&, const ExpertRows<E>&, Wire<E>&);                     \
  template void Collect(const BlockContext<E>&, const ExpertRows<E>&);                              \
  template void SendGradients(const BlockContext<E>&, const ExpertRows<E>&, const E*, Wire<E>&);    \
  template void ReceiveGradients(const BlockContext<E>&, const ExpertRows<E>&);                     \
  template void ReturnGradients(const BlockContext<E>&, const ExpertRows<E>&, Wire<E>&);            \
  template void CollectGradients(const BlockContext<E>&, const LayerActivations<E>&, const ExpertRows<E>&, const Wire<E>&, float*)
POLYMOE_INSTANTIATE(float);
POLYMOE_INSTANTIATE(BF16);
#undef POLYMOE_INSTANTIATE

}  // namespace polymoe
