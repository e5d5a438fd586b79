// A provider that knows the schemas of AWS and nothing else: enough for `validate`, and for `test` with a
// mocked provider. It never plans, applies or opens a connection.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

//go:embed schemas.json
var written []byte

type attribute struct {
	Type json.RawMessage
	Is   []string
}

type block struct {
	Attributes map[string]attribute
	Blocks     map[string]nested
}

type nested struct {
	block
	Nesting  string
	Min, Max int64
}

type schemas struct {
	Provider        block
	Resources, Data map[string]block
}

var nestings = map[string]tfprotov5.SchemaNestedBlockNestingMode{
	"list":   tfprotov5.SchemaNestedBlockNestingModeList,
	"set":    tfprotov5.SchemaNestedBlockNestingModeSet,
	"single": tfprotov5.SchemaNestedBlockNestingModeSingle,
}

func (b block) schema() *tfprotov5.SchemaBlock {
	made := &tfprotov5.SchemaBlock{}
	for name, each := range b.Attributes {
		kind, err := tftypes.ParseJSONType(each.Type) //nolint:staticcheck // there is no other reader
		if err != nil {
			panic(err)
		}
		made.Attributes = append(made.Attributes, &tfprotov5.SchemaAttribute{
			Name:     name,
			Type:     kind,
			Computed: slices.Contains(each.Is, "computed"),
			Optional: slices.Contains(each.Is, "optional"),
			Required: slices.Contains(each.Is, "required"),
		})
	}
	for name, each := range b.Blocks {
		made.BlockTypes = append(made.BlockTypes, &tfprotov5.SchemaNestedBlock{
			TypeName: name, Block: each.schema(), Nesting: nestings[each.Nesting], MinItems: each.Min, MaxItems: each.Max,
		})
	}
	return made
}

func whole(found map[string]block) map[string]*tfprotov5.Schema {
	made := map[string]*tfprotov5.Schema{}
	for name, each := range found {
		made[name] = &tfprotov5.Schema{Block: each.schema()}
	}
	return made
}

type provider struct {
	tfprotov5.ProviderServer // what is not below is never called
	known                    schemas
}

func (p provider) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return &tfprotov5.GetProviderSchemaResponse{
		Provider:          &tfprotov5.Schema{Block: p.known.Provider.schema()},
		ResourceSchemas:   whole(p.known.Resources),
		DataSourceSchemas: whole(p.known.Data),
	}, nil
}

func (p provider) GetResourceIdentitySchemas(context.Context, *tfprotov5.GetResourceIdentitySchemasRequest) (*tfprotov5.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov5.GetResourceIdentitySchemasResponse{}, nil
}

func (p provider) PrepareProviderConfig(_ context.Context, asked *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: asked.Config}, nil
}

func (p provider) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (p provider) ValidateResourceTypeConfig(_ context.Context, asked *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	known := p.known.Resources[asked.TypeName]
	value, err := asked.Config.Unmarshal((&tfprotov5.Schema{Block: known.schema()}).ValueType())
	if err != nil {
		return nil, err
	}
	answer := &tfprotov5.ValidateResourceTypeConfigResponse{}
	err = tftypes.Walk(value, func(path *tftypes.AttributePath, each tftypes.Value) (bool, error) {
		if problem := known.problem(path, each); problem != "" {
			answer.Diagnostics = append(answer.Diagnostics, &tfprotov5.Diagnostic{
				Severity: tfprotov5.DiagnosticSeverityError, Summary: problem, Attribute: path,
			})
		}
		return true, nil
	})
	return answer, err
}

// What a schema alone does not refuse, and the real provider does.
func (b block) problem(path *tftypes.AttributePath, value tftypes.Value) string {
	steps := path.Steps()
	if len(steps) == 0 || value.IsNull() || !value.IsKnown() {
		return ""
	}
	name, isName := steps[len(steps)-1].(tftypes.AttributeName)
	if !isName {
		return ""
	}
	for _, step := range steps[:len(steps)-1] {
		if outer, isOuter := step.(tftypes.AttributeName); isOuter {
			b = b.Blocks[string(outer)].block
		}
	}
	if found, isAttribute := b.Attributes[string(name)]; isAttribute && slices.Equal(found.Is, []string{"computed"}) {
		return fmt.Sprintf("%s is decided by AWS, and cannot be set", name)
	}
	text := ""
	if strings.HasSuffix(string(name), "arn") && value.Type().Is(tftypes.String) && value.As(&text) == nil && !strings.HasPrefix(text, "arn:") {
		return fmt.Sprintf("%s is %q, which is no ARN", name, text)
	}
	return ""
}

// Called in the teardown of tests: the state is of this very schema.
func (p provider) UpgradeResourceState(_ context.Context, asked *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	kind := (&tfprotov5.Schema{Block: p.known.Resources[asked.TypeName].schema()}).ValueType()
	value, err := asked.RawState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	state, err := tfprotov5.NewDynamicValue(kind, value)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &state}, err
}

func (p provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func main() {
	known := schemas{}
	if err := json.Unmarshal(written, &known); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	serve := func() tfprotov5.ProviderServer { return provider{known: known} }
	if err := tf5server.Serve("registry.terraform.io/hashicorp/aws", serve); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
