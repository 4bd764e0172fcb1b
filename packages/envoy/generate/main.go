// Command envoy-types prints the descriptors of Envoy's API that Meshpass uses, as a serialized
// google.protobuf.FileDescriptorSet: the imports below and every message that they need.
package main

import (
	"maps"
	"os"
	"slices"
	"strings"

	_ "github.com/cncf/xds/go/xds/type/matcher/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/previous_routes/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// What is kept wherever it is imported from; of the rest, what these need.
var kept = []string{"envoy/", "xds/type/"}

// Descriptors of annotations: whoever reads a configuration has no use for them.
const annotations = "envoy/annotations/"

func main() {
	needed := map[string]protoreflect.FileDescriptor{}
	var need func(file protoreflect.FileDescriptor)
	need = func(file protoreflect.FileDescriptor) {
		if needed[file.Path()] != nil {
			return
		}
		needed[file.Path()] = file
		for _, other := range filesOf(file) {
			need(other)
		}
	}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for _, prefix := range kept {
			if strings.HasPrefix(file.Path(), prefix) && !strings.HasPrefix(file.Path(), annotations) {
				need(file)
			}
		}
		return true
	})

	set := &descriptorpb.FileDescriptorSet{}
	added := map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if added[file.Path()] {
			return
		}
		added[file.Path()] = true
		var imports []string
		for _, other := range filesOf(file) {
			add(other)
			imports = append(imports, other.Path())
		}
		plain := withoutOptions(protodesc.ToFileDescriptorProto(file))
		plain.Dependency, plain.PublicDependency, plain.WeakDependency = imports, nil, nil
		set.File = append(set.File, plain)
	}
	for _, path := range slices.Sorted(maps.Keys(needed)) {
		add(needed[path])
	}
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(bytes)
}

// The other files whose messages and enums a file names, in the order of their paths: what it imports, but not for its options.
func filesOf(file protoreflect.FileDescriptor) []protoreflect.FileDescriptor {
	found := map[string]protoreflect.FileDescriptor{}
	see := func(one protoreflect.Descriptor) {
		if one.ParentFile().Path() != file.Path() {
			found[one.ParentFile().Path()] = one.ParentFile()
		}
	}
	var messages func(all protoreflect.MessageDescriptors)
	messages = func(all protoreflect.MessageDescriptors) {
		for i := range all.Len() {
			fields := all.Get(i).Fields()
			for j := range fields.Len() {
				if message := fields.Get(j).Message(); message != nil {
					see(message)
				}
				if enum := fields.Get(j).Enum(); enum != nil {
					see(enum)
				}
			}
			messages(all.Get(i).Messages())
		}
	}
	messages(file.Messages())
	for i := range file.Services().Len() {
		methods := file.Services().Get(i).Methods()
		for j := range methods.Len() {
			see(methods.Get(j).Input())
			see(methods.Get(j).Output())
		}
	}
	var files []protoreflect.FileDescriptor
	for _, path := range slices.Sorted(maps.Keys(found)) {
		files = append(files, found[path])
	}
	return files
}

// Of all options only the one that says what a map is: the others are a fifth of the descriptors, and they cost memory in every workspace.
func withoutOptions(file *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	file.Options, file.Extension = nil, nil
	for _, message := range file.MessageType {
		plainMessage(message)
	}
	for _, enum := range file.EnumType {
		plainEnum(enum)
	}
	for _, service := range file.Service {
		service.Options = nil
		for _, method := range service.Method {
			method.Options = nil
		}
	}
	return file
}

func plainMessage(message *descriptorpb.DescriptorProto) {
	isMap := message.GetOptions().GetMapEntry()
	message.Options, message.Extension = nil, nil
	if isMap {
		message.Options = &descriptorpb.MessageOptions{MapEntry: &isMap}
	}
	for _, field := range message.Field {
		field.Options = nil
	}
	for _, oneof := range message.OneofDecl {
		oneof.Options = nil
	}
	for _, nested := range message.NestedType {
		plainMessage(nested)
	}
	for _, enum := range message.EnumType {
		plainEnum(enum)
	}
}

func plainEnum(enum *descriptorpb.EnumDescriptorProto) {
	aliases := enum.GetOptions().GetAllowAlias()
	enum.Options = nil
	if aliases {
		enum.Options = &descriptorpb.EnumOptions{AllowAlias: &aliases}
	}
	for _, value := range enum.Value {
		value.Options = nil
	}
}
