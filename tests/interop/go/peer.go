// One side of a tunnel on grpc-go; ../peers.py tells it what to do.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

type command struct {
	Do      string
	Token   string
	Gzip    bool
	Send    [][2]int
	Seed    int
	Receive int
}

type peer struct {
	endpoint          string
	root              credentials.TransportCredentials
	request, response protoreflect.MessageDescriptor
	pattern           []byte

	connection *grpc.ClientConn
	stream     grpc.ClientStream
	cancel     context.CancelFunc
}

type reply map[string]any

func newPeer(endpoint, root, descriptors string) (*peer, error) {
	trusted, err := credentials.NewClientTLSFromFile(root, "")
	if err != nil {
		return nil, err
	}
	encoded, err := os.ReadFile(descriptors)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(encoded, &set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, err
	}
	service, err := files.FindDescriptorByName("jumpstarter.v1.RouterService")
	if err != nil {
		return nil, err
	}
	method := service.(protoreflect.ServiceDescriptor).Methods().ByName("Stream")
	pattern := make([]byte, 4*1024*1024+251)
	for i := range pattern {
		pattern[i] = byte(i % 251)
	}
	return &peer{
		endpoint: endpoint, root: trusted, request: method.Input(), response: method.Output(), pattern: pattern,
	}, nil
}

func (p *peer) open(c command) (reply, error) {
	var err error
	if p.connection, err = grpc.NewClient(p.endpoint, grpc.WithTransportCredentials(p.root)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.Token)
	var options []grpc.CallOption
	if c.Gzip {
		options = append(options, grpc.UseCompressor(gzip.Name))
	}
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	p.stream, err = p.connection.NewStream(ctx, both, "/jumpstarter.v1.RouterService/Stream", options...)
	return reply{}, err
}

// receive returns the frame type and the payload of the next message.
func (p *peer) receive() (int, []byte, error) {
	message := dynamicpb.NewMessage(p.response)
	if err := p.stream.RecvMsg(message); err != nil {
		return 0, nil, err
	}
	fields := p.response.Fields()
	frameType := message.Get(fields.ByName("frame_type")).Enum()
	return int(frameType), message.Get(fields.ByName("payload")).Bytes(), nil
}

func (p *peer) exchange(c command) (reply, error) {
	sent := make(chan error, 1)
	go func() {
		fields := p.request.Fields()
		for i, frame := range c.Send {
			start := (c.Seed + 7*i) % 251
			message := dynamicpb.NewMessage(p.request)
			payload := p.pattern[start : start+frame[0]]
			message.Set(fields.ByName("payload"), protoreflect.ValueOfBytes(payload))
			message.Set(fields.ByName("frame_type"), protoreflect.ValueOfEnum(protoreflect.EnumNumber(frame[1])))
			if err := p.stream.SendMsg(message); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	digest := sha256.New()
	for range c.Receive {
		frameType, payload, err := p.receive()
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(digest, "%d %d ", frameType, len(payload))
		digest.Write(payload)
	}
	return reply{"digest": hex.EncodeToString(digest.Sum(nil))}, <-sent
}

func (p *peer) end() (reply, error) {
	types := []int{}
	for {
		frameType, _, err := p.receive()
		if err == nil {
			types = append(types, frameType)
			continue
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		p.cancel()
		return reply{"types": types, "code": status.Code(err), "message": status.Convert(err).Message()},
			p.connection.Close()
	}
}

func (p *peer) obey(c command) (reply, error) {
	switch c.Do {
	case "open":
		return p.open(c)
	case "exchange":
		return p.exchange(c)
	case "close":
		return reply{}, p.stream.CloseSend()
	case "cancel":
		p.cancel()
		return reply{}, nil
	case "end":
		return p.end()
	}
	return nil, fmt.Errorf("no command %q", c.Do)
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: go-peer <endpoint> <root.pem> <descriptors>")
	}
	p, err := newPeer(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			log.Fatal(err)
		}
		answer, err := p.obey(c)
		if err != nil {
			log.Fatalf("%s: %v", c.Do, err)
		}
		line, err := json.Marshal(answer)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(line))
	}
}
