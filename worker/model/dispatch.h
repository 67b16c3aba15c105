// Tokens on their way to the experts of other ranks and back, and their gradients the same way.
//
// A token goes to each rank at most once, however many of its experts are there, and comes back as the sum of their outputs: a rank sends
// tokens x (ranks that they go to) rows, not tokens x topK. What arrives is a micro-batch of its own: rows, with the ids and weights
// of all their experts, of which the receiver computes those it holds.
//
//   home                                      expert side
//   Announce   how many rows for whom
//   Send       rows and routing       ->      Receive
//                                             experts, summed by token into Wire::partial
//   Collect    into Wire::home        <-      Return
//
// The tokens of a micro-batch go in chunks, so that one is on its way while another is computed: each has its Wire and its channels.
// All functions are called in the same order on all ranks that share the experts.
#ifndef POLYMOE_WORKER_MODEL_DISPATCH_H_
#define POLYMOE_WORKER_MODEL_DISPATCH_H_

#include "worker/model/blocks.h"

namespace polymoe {

template <class Element>
void Announce(const BlockContext<Element>& context, const LayerActivations<Element>& a, ExpertRows<Element>& chunk);
template <class Element>
void Send(const BlockContext<Element>& context, const LayerActivations<Element>& a, ExpertRows<Element>& chunk,
          Wire<Element>& wire);
template <class Element>
void Receive(const BlockContext<Element>& context, ExpertRows<Element>& chunk, const Wire<Element>& wire);
template <class Element>
void Return(const BlockContext<Element>& context, const ExpertRows<Element>& chunk, Wire<Element>& wire);
template <class Element>
void Collect(const BlockContext<Element>& context, const ExpertRows<Element>& chunk);

// The gradient of the outputs, `dx` [N,D], to Wire::dy of the expert side.
template <class Element>
void SendGradients(const BlockContext<Element>& context, const ExpertRows<Element>& chunk, const Element* dx, Wire<Element>& wire);
template <class Element>
void ReceiveGradients(const BlockContext<Element>& context, const ExpertRows<Element>& chunk);
// Wire::partial and Wire::dweights of the expert side to Wire::home and `dweights` [N,K].
template <class Element>
void ReturnGradients(const BlockContext<Element>& context, const ExpertRows<Element>& chunk, Wire<Element>& wire);
template <class Element>
void CollectGradients(const BlockContext<Element>& context, const LayerActivations<Element>& a, const ExpertRows<Element>& chunk,
                      const Wire<Element>& wire, float* dweights);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_DISPATCH_H_
