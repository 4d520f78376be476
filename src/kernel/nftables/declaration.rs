//! Encodes and decodes the attributes that declare a set or map.

use portolan_rules::ruleset::{DataType, Set, SetData, SetFlags};

use super::{attributes::Attributes, uapi::*, wire};

/// Bits per field in the type of a concatenation (`TYPE_BITS` of nft).
const TYPE_BITS: u32 = 6;
/// Longest key or data in bytes (`NFT_DATA_VALUE_MAXLEN`).
const LENGTH_MAX: usize = 64;
/// Most fields of a concatenation: their types must fit in 32 bits.
const FIELDS_MAX: usize = 5;

/// The numbers of a declaration (`NFTA_SET_…`).
#[derive(PartialEq, Eq)]
struct Declaration {
    /// `NFTA_SET_FLAGS`.
    flags: c_int,
    /// `NFTA_SET_KEY_TYPE` and `NFTA_SET_KEY_LEN`.
    key: (u32, u32),
    /// `NFTA_SET_DATA_TYPE` and `NFTA_SET_DATA_LEN`. Both are zero for a set. For a verdict map the length is zero, as
    /// nft sends it.
    data: (u32, u32),
}

impl Declaration {
    /// The numbers that declare a set. Fails with the reason if the kernel cannot hold it.
    fn of(set: &Set) -> Result<Self, String> {
        let flags = [
            (set.flags.interval, NFT_SET_INTERVAL),
            (set.flags.interval && set.key.len() > 1, NFT_SET_CONCAT),
            (set.is_map(), NFT_SET_MAP),
            (set.flags.timeout, NFT_SET_TIMEOUT),
            (set.flags.dynamic, NFT_SET_EVAL),
        ];
        let flags = flags.into_iter().fold(0, |all, (flag, bit)| if flag { all | bit } else { all });
        let key = type_and_length(&set.key)?;
        let data = match &set.data {
            SetData::None => (0, 0),
            SetData::Value(types) => type_and_length(types)?,
            SetData::Verdict => (NFT_DATA_VERDICT, 0),
        };
        if set.flags.interval && set.key == [DataType::ClassId] {
            return Err("ranges of numbers in host order".to_owned());
        }
        Ok(Self { flags, key, data })
    }
}

/// Appends the attributes of a declaration to those that name the set, in libnftnl's order. `id` is unique among the
/// sets of a batch.
pub(super) fn write(out: &mut Vec<u8>, set: &Set, id: u32) -> Result<(), String> {
    let Declaration { flags, key, data } = Declaration::of(set)?;
    wire::flags(out, NFTA_SET_FLAGS, flags);
    wire::number(out, NFTA_SET_KEY_TYPE, key.0);
    wire::number(out, NFTA_SET_KEY_LEN, key.1);
    let mut userdata = record(UDATA_SET_KEY_BYTEORDER, byte_order(&set.key));
    if set.data != SetData::None {
        wire::number(out, NFTA_SET_DATA_TYPE, data.0);
        wire::number(out, NFTA_SET_DATA_LEN, data.1);
        userdata.extend(record(UDATA_SET_DATA_BYTEORDER, byte_order(data_types(set))));
    }
    wire::number(out, NFTA_SET_ID, id);
    if set.size.is_some() || flags & NFT_SET_CONCAT != 0 {
        wire::nest(out, NFTA_SET_DESC, |description| {
            if let Some(size) = set.size {
                wire::number(description, NFTA_SET_DESC_SIZE, size);
            }
            if flags & NFT_SET_CONCAT != 0 {
                wire::nest(description, NFTA_SET_DESC_CONCAT, |fields| {
                    for field in &set.key {
                        let length = field.size() as u32;
                        wire::nest(fields, NFTA_LIST_ELEM, |it| wire::number(it, NFTA_SET_FIELD_LEN, length));
                    }
                });
            }
        });
    }
    wire::attribute(out, NFTA_SET_USERDATA, &userdata);
    if set.counter {
        // Elements that are added without an expression get a copy of the set's.
        wire::nest(out, NFTA_SET_EXPR, |expression| {
            wire::string(expression, NFTA_EXPR_NAME, COUNTER);
            wire::nest(expression, NFTA_EXPR_DATA, |_| ());
        });
    }
    Ok(())
}

/// The types of a map's values; empty for a set or a verdict map.
pub(super) fn data_types(set: &Set) -> &[DataType] {
    match &set.data {
        SetData::Value(types) => types,
        SetData::None | SetData::Verdict => &[],
    }
}

/// A record of user data as libnftnl writes it: type, length, value.
fn record(kind: u8, value: u32) -> Vec<u8> {
    [&[kind, 4][..], &value.to_ne_bytes()].concat()
}

/// Reads a declaration from the attributes of a set, without its counter. `None` if the model cannot express it.
pub(super) fn read(name: &str, attributes: Attributes<'_>) -> Option<Set> {
    let number = |kind| attributes.number(kind).unwrap_or(0);
    let mut declaration = Declaration {
        flags: attributes.flags(NFTA_SET_FLAGS),
        key: (number(NFTA_SET_KEY_TYPE), number(NFTA_SET_KEY_LEN)),
        data: (number(NFTA_SET_DATA_TYPE), number(NFTA_SET_DATA_LEN)),
    };
    let has = |flag| declaration.flags & flag != 0;
    let (interval, dynamic, timeout) = (has(NFT_SET_INTERVAL), has(NFT_SET_EVAL), has(NFT_SET_TIMEOUT));
    let data = match declaration.data.0 {
        _ if !has(NFT_SET_MAP) => SetData::None,
        NFT_DATA_VERDICT => {
            declaration.data.1 = 0;
            SetData::Verdict
        }
        data_type => SetData::Value(types(data_type)?),
    };
    let set = Set {
        data,
        flags: SetFlags { interval, dynamic, timeout },
        size: attributes.nested(NFTA_SET_DESC).number(NFTA_SET_DESC_SIZE),
        ..Set::new(name, &types(declaration.key.0)?)
    };
    (Declaration::of(&set) == Ok(declaration)).then_some(set)
}

/// Length in the kernel of a value of these types, in bytes.
pub(super) fn length(types: &[DataType]) -> usize {
    match types {
        [one] => one.size(),
        fields => fields.iter().map(|field| field.padded_size()).sum(),
    }
}

fn type_and_length(types: &[DataType]) -> Result<(u32, u32), String> {
    let length = length(types);
    if types.is_empty() {
        return Err("a key or data without a type".to_owned());
    }
    if types.len() > FIELDS_MAX || length > LENGTH_MAX {
        return Err(format!("a key or data of {} fields and {length} bytes", types.len()));
    }
    Ok((types.iter().fold(0, |all, field| all << TYPE_BITS | field.id()), length as u32))
}

/// Splits the type of a concatenation into its fields. The first field has the highest bits.
fn types(mut concatenated: u32) -> Option<Vec<DataType>> {
    let mut types = Vec::new();
    while concatenated != 0 {
        let id = concatenated & ((1 << TYPE_BITS) - 1);
        types.push(DataType::ALL.into_iter().find(|data_type| data_type.id() == id)?);
        concatenated >>= TYPE_BITS;
    }
    types.reverse();
    (!types.is_empty()).then_some(types)
}

/// The byte order as nft numbers it (`enum byteorder`): zero, invalid, for concatenations, whose fields may differ.
fn byte_order(types: &[DataType]) -> u32 {
    match types {
        [DataType::ClassId] => 1,
        [DataType::Ipv4Addr | DataType::Ipv6Addr | DataType::InetService] => 2,
        _ => 0,
    }
}
