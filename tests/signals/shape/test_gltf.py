"""glTF files: every way in which triangles may be stored and placed, and what is said of the rest."""

import numpy as np
import pytest

from cube_mesh import CUBE, CUBE_FACES
from gltf_files import Gltf, cube
from prism_mesh import volume
from softmine.errors import SoftmineError
from softmine.signals.shape import files as mesh_files


def read(file, path):
    return mesh_files.read(file.write(path))


def spans(mesh, low, high):
    assert mesh.vertices.min(0).tolist() == pytest.approx(low)
    assert mesh.vertices.max(0).tolist() == pytest.approx(high)


@pytest.mark.parametrize("ending", ["glb", "gltf"])
def test_a_cube_is_a_cube(tmp_path, ending):
    mesh = read(cube(), tmp_path / f"cube.{ending}")
    assert mesh.closed
    assert volume(mesh) == pytest.approx(1)
    assert mesh.notes == []


@pytest.mark.parametrize(
    "uri", ["my data %C3%BC.bin", "my%20data%20%C3%BC.bin", "my data ü.bin", "./my data ü.bin"]
)
def test_names_of_buffers_may_be_encoded(tmp_path, uri):
    file = cube()
    (tmp_path / "my data ü.bin").write_bytes(file.data)
    assert volume(mesh_files.read(file.write(tmp_path / "cube.gltf", uri))) == pytest.approx(1)


def test_a_name_with_a_percent_sign_that_encodes_nothing(tmp_path):
    file = cube()
    (tmp_path / "50%25.bin").write_bytes(file.data)
    assert volume(mesh_files.read(file.write(tmp_path / "cube.gltf", "50%25.bin"))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gone%20away.bin", "its buffer 'gone away.bin' is missing"),
        ("../secret.bin", "its buffer '../secret.bin' lies outside its folder"),
        ("%2E%2E/secret.bin", "lies outside its folder"),
        ("/etc/passwd", "lies outside its folder"),
        ("https://example.org/a.bin", "is an address"),
    ],
)
def test_buffers_that_cannot_be_read_are_named(tmp_path, uri, words):
    (tmp_path / "secret.bin").write_bytes(cube().data)
    (tmp_path / "in").mkdir()
    with pytest.raises(SoftmineError, match=words):
        mesh_files.read(cube().write(tmp_path / "in" / "cube.gltf", uri))


@pytest.mark.parametrize(
    ("mode", "corners"),
    [
        (4, [0, 1, 2, 2, 1, 3, 2, 3, 4]),
        (5, [0, 1, 2, 3, 4]),
        # Two strips, joined by triangles without area.
        (5, [0, 1, 2, 2, 2, 1, 3, 3, 2, 2, 2, 3, 4]),
        (6, [2, 0, 1, 3, 4]),
    ],
)
@pytest.mark.parametrize("indexed", [True, False])
def test_strips_and_fans_are_the_triangles_that_they_stand_for(tmp_path, mode, corners, indexed):
    corners = np.array(corners, np.uint8)
    places = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 2, 0]], np.float32)
    file = Gltf(scenes=[{"nodes": [0]}], nodes=[{"mesh": 0}])
    primitive = {"attributes": {"POSITION": file.add(places if indexed else places[corners])}, "mode": mode}
    if indexed:
        primitive["indices"] = file.add(corners)
    file.json["meshes"] = [{"primitives": [primitive]}]
    mesh = read(file, tmp_path / "strip.glb")
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    crosses = np.cross(b - a, c - a)
    assert len(mesh.faces) == 3
    assert (crosses[:, 2] > 0).all()
    assert crosses[:, 2].sum() / 2 == pytest.approx(1.5)


def test_points_and_lines_beside_triangles_are_said_to_be_left_out(tmp_path):
    file = cube()
    primitives = file.json["meshes"][0]["primitives"]
    primitives += [{"attributes": {"POSITION": 0}, "mode": mode} for mode in (0, 1, 3)]
    mesh = read(file, tmp_path / "cube.glb")
    assert volume(mesh) == pytest.approx(1)
    assert mesh.notes == ["1 point clouds left out", "2 sets of lines left out"]


def test_a_mesh_is_where_its_nodes_put_it(tmp_path):
    file = cube(translation=[10, 0, 0], scale=[2, 1, 1])
    half = np.sqrt(0.5)
    file.json["nodes"] += [{"children": [0], "rotation": [0, 0, half, half]}]
    file.json["scenes"] = [{"nodes": [1]}]
    mesh = read(file, tmp_path / "cube.glb")
    spans(mesh, [-1, 10, 0], [0, 12, 1])
    assert volume(mesh) == pytest.approx(2)
    # A matrix is stored column by column.
    mesh = read(cube(matrix=[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 3, 0, 5, 6, 7, 1]), tmp_path / "cube.glb")
    spans(mesh, [5, 6, 7], [6, 7, 10])


def test_a_mirror_turns_no_mesh_inside_out(tmp_path):
    file = cube(scale=[-1, 1, 1])
    # Beside a larger one, so that the whole is not turned by its volume.
    file.json["nodes"] += [{"mesh": 0, "translation": [5, 0, 0], "scale": [2, 2, 2]}]
    file.json["scenes"] = [{"nodes": [0, 1]}]
    mesh = read(file, tmp_path / "cube.glb")
    assert volume(mesh) == pytest.approx(9)
    assert mesh.notes == []


def test_sparse_values_are_put_in_their_places(tmp_path):
    file = cube()
    file.json["accessors"][0]["sparse"] = {
        "count": 2,
        "indices": {"bufferView": file.view(np.array([5, 7], np.uint16)), "componentType": 5123},
        "values": {"bufferView": file.view(np.array([[1, 0, 2], [1, 1, 2]], np.float32))},
    }
    mesh = read(file, tmp_path / "cube.glb")
    assert volume(mesh) == pytest.approx(1.5)
    # Of what has no buffer all else is zero.
    del file.json["accessors"][0]["bufferView"]
    mesh = read(file, tmp_path / "zero.glb")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 2], [1, 1, 2]]


@pytest.mark.parametrize(
    ("kind", "most"), [("uint8", 255), ("int8", 127), ("uint16", 65535), ("int16", 32767)]
)
def test_quantized_values_are_shares_where_they_say_so(tmp_path, kind, most):
    file = Gltf(scenes=[{"nodes": [0, 1]}], extensionsRequired=["KHR_mesh_quantization"])
    file.json["nodes"] = [{"mesh": 0, "scale": [3, 3, 3]}, {"mesh": 1, "translation": [4, 0, 0]}]
    shares = file.add((CUBE * most).astype(kind), normalized=True)
    numbers = file.add(CUBE.astype(kind))
    corners = file.add(CUBE_FACES.reshape(-1).astype(np.uint32))
    file.json["meshes"] = [
        {"primitives": [{"attributes": {"POSITION": each}, "indices": corners}]} for each in (shares, numbers)
    ]
    mesh = read(file, tmp_path / "cube.glb")
    spans(mesh, [0, 0, 0], [5, 3, 3])
    assert volume(mesh) == pytest.approx(28)


def test_rows_may_have_other_values_between_them(tmp_path):
    file = cube()
    mixed = np.zeros((8, 6), np.float32)
    mixed[:, 2:5] = CUBE
    view = file.view(mixed)
    file.json["bufferViews"][view]["byteStride"] = 24
    file.json["accessors"][0] |= {"bufferView": view, "byteOffset": 8}
    assert volume(read(file, tmp_path / "cube.glb")) == pytest.approx(1)


def test_instances_are_all_there(tmp_path):
    file = cube(translation=[0, 0, 5])
    moves = file.add(np.array([[0, 0, 0], [2, 0, 0], [4, 0, 0]], np.float32))
    sizes = file.add(np.array([[1, 1, 1], [1, 1, 1], [1, 1, 3]], np.float32))
    file.json["nodes"][0]["extensions"] = {
        "EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": moves, "SCALE": sizes}}
    }
    file.json["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    mesh = read(file, tmp_path / "cubes.glb")
    spans(mesh, [0, 0, 5], [5, 1, 8])
    assert volume(mesh) == pytest.approx(5)


def test_morph_targets_count_by_their_weights_at_rest(tmp_path):
    file = cube()
    up = np.zeros((8, 3), np.float32)
    up[CUBE[:, 2] == 1, 2] = 1
    file.json["meshes"][0]["primitives"][0]["targets"] = [
        {"POSITION": file.add(up)},
        {"POSITION": file.add(up)},
    ]
    for node, mesh, height in ((None, None, 1), (None, [0.5, 0], 1.5), ([0, 2], [0.5, 0], 3)):
        file.json["nodes"][0].pop("weights", None)
        if node:
            file.json["nodes"][0]["weights"] = node
        if mesh:
            file.json["meshes"][0]["weights"] = mesh
        found = read(file, tmp_path / "cube.glb")
        spans(found, [0, 0, 0], [1, 1, height])
        assert found.notes == ["skinned or morphed meshes are in their pose at rest"]


def test_a_skin_is_where_its_joints_are_and_not_where_its_node_is(tmp_path):
    file = cube(skin=0, translation=[100, 0, 0])
    # The upper half moves by 2, the lower one stays; both joints were bound where they were moved to (1, 0, 0).
    upper = (CUBE[:, 2] == 1).astype(np.float32)
    which = np.tile(np.array([0, 1, 0, 0], np.uint8), (8, 1))
    weights = np.stack([1 - upper, upper, 0 * upper, 0 * upper], -1)
    attributes = file.json["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_0"] = file.add(which)
    attributes["WEIGHTS_0"] = file.add((weights * 255).astype(np.uint8), normalized=True)
    back = np.eye(4, dtype=np.float32)
    back[3, 0] = -1
    bound = file.add(np.stack([back, back]).reshape(2, 16))
    file.json["nodes"] += [
        {"translation": [1, 0, 0], "children": [2]},
        {"translation": [0, 0, 2]},
    ]
    file.json["skins"] = [{"joints": [1, 2], "inverseBindMatrices": bound}]
    file.json["scenes"] = [{"nodes": [0, 1]}]
    mesh = read(file, tmp_path / "cube.glb")
    spans(mesh, [0, 0, 0], [1, 1, 3])
    assert volume(mesh) == pytest.approx(3)
    assert mesh.notes == ["skinned or morphed meshes are in their pose at rest"]


def test_the_scene_that_is_shown_is_read_and_the_rest_is_said(tmp_path):
    file = cube()
    file.json["nodes"] += [{"mesh": 0, "translation": [5, 0, 0]}, {"mesh": 0, "translation": [0, 9, 0]}]
    file.json |= {"scenes": [{"nodes": [0]}, {"nodes": [1]}], "scene": 1}
    mesh = read(file, tmp_path / "cube.glb")
    spans(mesh, [5, 0, 0], [6, 1, 1])
    assert mesh.notes == [
        "scene 1 of its 2, counted from 0",
        "2 nodes with meshes that are not in the scene left out",
    ]
    file.json["nodes"][1]["extensions"] = {"KHR_node_visibility": {"visible": False}}
    file.json |= {"scenes": [{"nodes": [0, 1]}], "scene": 0}
    mesh = read(file, tmp_path / "cube.glb")
    spans(mesh, [0, 0, 0], [1, 1, 1])
    assert mesh.notes == ["1 hidden nodes, and all that is in them, left out"]


def test_coarser_levels_of_detail_are_said_to_be_left_out(tmp_path):
    file = cube()
    file.json["nodes"].append({"mesh": 0, "translation": [9, 0, 0]})
    file.json["nodes"][0]["extensions"] = {"MSFT_lod": {"ids": [len(file.json["nodes"]) - 1]}}
    mesh = read(file, tmp_path / "cube.glb")
    spans(mesh, [0, 0, 0], [1, 1, 1])
    assert "the finest level of detail of 1 nodes; coarser ones left out" in mesh.notes


def test_without_scenes_or_nodes_all_meshes_are_read(tmp_path):
    file = cube(translation=[5, 0, 0])
    del file.json["scenes"], file.json["scene"]
    spans(read(file, tmp_path / "cube.glb"), [5, 0, 0], [6, 1, 1])
    del file.json["nodes"]
    mesh = read(file, tmp_path / "cube.glb")
    spans(mesh, [0, 0, 0], [1, 1, 1])
    assert mesh.notes == ["it has no nodes: its meshes are taken where they are"]


def change(file, *steps, to):
    place = file.json
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = to


@pytest.mark.parametrize(
    ("steps", "to", "words"),
    [
        (["extensionsRequired"], ["KHR_draco_mesh_compression"], "compressed with Draco"),
        (["extensionsRequired"], ["EXT_meshopt_compression"], "compressed with meshopt"),
        (["extensionsRequired"], ["VENDOR_odd"], "needs the glTF extension 'VENDOR_odd'"),
        (["asset", "version"], "1.0", "of glTF version 1.0"),
        (["accessors", 0, "count"], 9, "beyond the end of their buffer"),
        (["accessors", 0, "count"], -1, "'count' in its JSON is -1"),
        (["accessors", 0, "count"], 10**15, "beyond the end of their buffer"),
        (["accessors", 0, "type"], "VEC2", "accessor 0 is VEC2, not VEC3"),
        (["accessors", 0, "componentType"], 5130, "unknown type 5130"),
        (["bufferViews", 0, "byteLength"], 10**9, "beyond the end of their buffer"),
        (["accessors", 0], {"componentType": 5126, "count": 10**12, "type": "VEC3"}, "promises more"),
        (["nodes", 0, "mesh"], 3, "it names meshes 3"),
        (["nodes", 0, "children"], [0], "in the scene twice"),
        (["nodes", 0, "scale"], [1, 2], "has not 3 numbers"),
        (["scenes", 0, "nodes"], [0, 0], "in the scene twice"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, steps, to, words):
    file = cube()
    change(file, *steps, to=to)
    with pytest.raises(SoftmineError, match=words):
        read(file, tmp_path / "cube.glb")


def test_draco_without_a_word_in_the_head_is_named_too(tmp_path):
    file = cube()
    del file.json["accessors"][0]["bufferView"]
    file.json["accessors"][0]["count"] = 8
    primitive = file.json["meshes"][0]["primitives"][0]
    primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}}
    with pytest.raises(SoftmineError, match="Draco"):
        read(file, tmp_path / "cube.glb")


def test_truncated_files_are_refused(tmp_path):
    whole = cube().write(tmp_path / "cube.glb").read_bytes()
    for end in (4, 11, 19, 30, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.glb").write_bytes(whole[:end])
        with pytest.raises(SoftmineError, match="truncated"):
            mesh_files.read(tmp_path / "cut.glb")


def test_primitives_may_share_the_vertices_of_a_mesh(tmp_path):
    file = cube()
    halves = [CUBE_FACES[:2], CUBE_FACES[2:]]
    file.json["meshes"][0]["primitives"] = [
        {"attributes": {"POSITION": 0}, "indices": file.add(half.reshape(-1).astype(np.uint16))}
        for half in halves
    ]
    mesh = read(file, tmp_path / "cube.glb")
    assert mesh.closed
    assert volume(mesh) == pytest.approx(1)
