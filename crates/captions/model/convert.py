"""Converts Moonshine tiny-en (.ort, as the wheel has it) to plain ONNX files that the Rust runtime `rten` reads.

    convert.py FOLDER-WITH-ORT-FILES OUTPUT-FOLDER

1. onnxruntime writes each .ort file as ONNX, without optimising it again.
2. The fused operators of `com.microsoft` that rten does not have are replaced by the standard operators that they stand for.
3. The merged decoder has both of its branches in one `If`. Each branch becomes a model of its own:
   `decoder_first.onnx` takes all tokens at once and returns the key-value cache and the cross attention, from which word times
   are computed; `decoder_next.onnx` takes one token and the cache.

The same inputs and package versions give the same bytes. `scripts/captions-model` compares their checksums.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

LAYERS = 6
# Operators of com.microsoft that rten has.
KEPT = {"Gelu", "QuickGelu", "SkipLayerNormalization"}


def to_onnx(source: Path, target: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ONNX")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


class Rewrite:
    """Replaces fused operators in a graph and in the graphs inside its nodes."""

    def __init__(self) -> None:
        self.count = 0

    def name(self, of: str) -> str:
        self.count += 1
        return f"{of}__{self.count}"

    def graph(self, graph: onnx.GraphProto) -> None:
        nodes = []
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    self.graph(attribute.g)
                    attribute.g.name = attribute.g.name or attribute.name
            nodes += self.node(node) if node.domain == "com.microsoft" else [node]
        del graph.node[:]
        graph.node.extend(nodes)

    def node(self, node: onnx.NodeProto) -> list:
        inputs, outputs = list(node.input), list(node.output)
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "DynamicQuantizeMatMul":
            a, b, b_scale, b_zero, bias = (inputs + [""] * 5)[:5]
            quantized, scale, zero = self.name("quantized"), self.name("scale"), self.name("zero")
            first = helper.make_node("DynamicQuantizeLinear", [a], [quantized, scale, zero])
            return [first] + self.integer_matmul(quantized, b, scale, b_scale, zero, b_zero, bias, outputs)
        if node.op_type == "MatMulIntegerToFloat":
            a, b, scale, b_scale, zero, b_zero, bias = (inputs + [""] * 7)[:7]
            return self.integer_matmul(a, b, scale, b_scale, zero, b_zero, bias, outputs)
        if node.op_type == "FusedMatMul":
            return self.matmul(inputs, attributes, outputs)
        if node.op_type == "FusedConv":
            activation = attributes.pop("activation").decode()
            attributes.pop("activation_params", None)
            result = self.name("conv")
            return [helper.make_node("Conv", inputs[:3], [result], **attributes), helper.make_node(activation, [result], outputs)]
        if node.op_type in KEPT:
            return [node]
        raise SystemExit(f"convert.py: the operator {node.op_type} is not known; the model is not the expected one")

    def integer_matmul(self, a, b, scale, b_scale, zero, b_zero, bias, outputs) -> list:
        product, as_float, scales = self.name("product"), self.name("float"), self.name("scales")
        scaled = self.name("scaled") if bias else outputs[0]
        nodes = [
            helper.make_node("MatMulInteger", [a, b, zero] + ([b_zero] if b_zero else []), [product]),
            helper.make_node("Cast", [product], [as_float], to=TensorProto.FLOAT),
            helper.make_node("Mul", [scale, b_scale], [scales]),
            helper.make_node("Mul", [as_float, scales], [scaled]),
        ]
        return nodes + ([helper.make_node("Add", [scaled, bias], outputs)] if bias else [])

    def matmul(self, inputs, attributes, outputs) -> list:
        a, b = inputs[:2]
        if any(attributes.get(name) for name in ("transA", "transBatchA", "transBatchB")):
            raise SystemExit("convert.py: a transposed operand that is not expected")
        nodes = []
        if attributes.get("transB"):
            transposed = self.name("transposed")
            nodes.append(helper.make_node("Transpose", [b], [transposed], perm=[0, 1, 3, 2]))
            b = transposed
        alpha = attributes.get("alpha", 1.0)
        if abs(alpha - 1) < 1e-9:
            return nodes + [helper.make_node("MatMul", [a, b], outputs)]
        product, factor = self.name("product"), self.name("alpha")
        return nodes + [
            helper.make_node("MatMul", [a, b], [product]),
            helper.make_node("Constant", [], [factor], value=numpy_helper.from_array(np.array(alpha, np.float32))),
            helper.make_node("Mul", [product, factor], outputs),
        ]


def standard(source: Path) -> onnx.ModelProto:
    model = onnx.load(source)
    Rewrite().graph(model.graph)
    sets = [entry for entry in model.opset_import if entry.domain in ("", "com.microsoft")]
    del model.opset_import[:]
    model.opset_import.extend(sets)
    return model


def branch(model: onnx.ModelProto, name: str, first: bool) -> onnx.ModelProto:
    graph = model.graph
    chosen = next(node for node in graph.node if node.op_type == "If")
    inner = next(attribute.g for attribute in chosen.attribute if attribute.name == name)
    # With a cache, the encoder's part of the cache does not change, and the branch returns constants in its place.
    pairs = [(i.name, o.name) for i, o in zip(inner.output, graph.output) if first or ".encoder." not in o.name]
    nodes = [node for node in graph.node if node.op_type != "If"] + list(inner.node)
    nodes += [helper.make_node("Identity", [inside], [outside]) for inside, outside in pairs if inside != outside]
    attended = [f"/model/decoder/layers.{layer}/encoder_attn/Softmax_output_0" for layer in range(LAYERS // 2, LAYERS)]
    names = [outside for _, outside in pairs] + (attended if first else [])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    used = {name for node in nodes for name in node.input}
    inputs = [i for i in graph.input if i.name in used]
    constants = [c for c in [*graph.initializer, *inner.initializer] if c.name in used]
    result = helper.make_graph(nodes, name, inputs, outputs, initializer=constants)
    return helper.make_model(result, opset_imports=model.opset_import, ir_version=model.ir_version)


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as work:
        plain = Path(work)
        for name in ("encoder_model", "decoder_model_merged"):
            to_onnx(source / f"{name}.ort", plain / f"{name}.onnx")
        onnx.save(standard(plain / "encoder_model.onnx"), target / "encoder.onnx")
        decoder = standard(plain / "decoder_model_merged.onnx")
        onnx.save(branch(decoder, "else_branch", first=True), target / "decoder_first.onnx")
        onnx.save(branch(decoder, "then_branch", first=False), target / "decoder_next.onnx")


main()
