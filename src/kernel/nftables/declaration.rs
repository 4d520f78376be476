//! The numbers that declare a set or map to the kernel, and what they say about a set found there.

use portolan_rules::ruleset::{DataType, Set, SetData, SetFlags};

use super::{
    attributes::Attributes,
    libnftnl::{self, Name, attributes},
    uapi::*,
};

/// Bits that nft gives each field's type in a concatenation's (`TYPE_BITS`).
const TYPE_BITS: u32 = 6;
/// Longest key or data in bytes (`NFT_DATA_VALUE_MAXLEN`).
const LENGTH_MAX: usize = 64;
/// Most fields whose types fit in 32 bits.
const FIELDS_MAX: usize = 5;

/// The numbers of a declaration (`NFTA_SET_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Declaration {
    /// `NFTA_SET_FLAGS`.
    pub flags: c_int,
    /// `NFTA_SET_KEY_TYPE`.
    pub key_type: u32,
    /// `NFTA_SET_KEY_LEN`.
    pub key_length: u32,
    /// `NFTA_SET_DATA_TYPE`; zero for a set.
    pub data_type: u32,
    /// `NFTA_SET_DATA_LEN`; zero for a set, and for a verdict map, as nft sends it.
    pub data_length: u32,
    /// nft's `enum byteorder` of the key. Without it nft reads numbers in host order back to front.
    pub key_byte_order: u32,
    /// The same of the data.
    pub data_byte_order: u32,
}

impl Declaration {
    /// The numbers of a set. Refuses, with the reason, what the kernel cannot hold.
    pub(super) fn of(set: &Set) -> Result<Self, String> {
        let (key_type, key_length) = type_and_length(&set.key)?;
        let flags = [
            (set.flags.interval, NFT_SET_INTERVAL),
            (set.flags.interval && set.key.len() > 1, NFT_SET_CONCAT),
            (set.is_map(), NFT_SET_MAP),
            (set.flags.timeout, NFT_SET_TIMEOUT),
            (set.flags.dynamic, NFT_SET_EVAL),
        ];
        let flags = flags.into_iter().fold(0, |all, (flag, bit)| if flag { all | bit } else { all });
        let (data_type, data_length, data_byte_order) = match &set.data {
            SetData::None => (0, 0, 0),
            SetData::Value(types) => {
                let (data_type, length) = type_and_length(types)?;
                (data_type, length, byte_order(types))
            }
            SetData::Verdict => (NFT_DATA_VERDICT, 0, 0),
        };
        if set.flags.interval && set.key == [DataType::ClassId] {
            return Err("ranges of numbers in host order".to_owned());
        }
        let key_byte_order = byte_order(&set.key);
        Ok(Self { flags, key_type, key_length, data_type, data_length, key_byte_order, data_byte_order })
    }
}

/// A declaration in libnftnl's form. `id` distinguishes it from others in the same batch.
pub(super) fn write(table: &Name, set: &Set, id: u32) -> Result<libnftnl::Set, String> {
    let declaration = Declaration::of(set)?;
    let mut attributes = attributes![
        NFTNL_SET_TABLE => table,
        NFTNL_SET_NAME => &Name::new(&set.name)?,
        NFTNL_SET_FLAGS => declaration.flags,
        NFTNL_SET_KEY_TYPE => declaration.key_type,
        NFTNL_SET_KEY_LEN => declaration.key_length,
        NFTNL_SET_ID => id,
    ];
    let mut userdata = record(UDATA_SET_KEY_BYTEORDER, declaration.key_byte_order);
    if set.data != SetData::None {
        attributes.extend(attributes![
            NFTNL_SET_DATA_TYPE => declaration.data_type,
            NFTNL_SET_DATA_LEN => declaration.data_length,
        ]);
        userdata.extend(record(UDATA_SET_DATA_BYTEORDER, declaration.data_byte_order));
    }
    if let Some(size) = set.size {
        attributes.extend(attributes![NFTNL_SET_DESC_SIZE => size]);
    }
    if declaration.flags & NFT_SET_CONCAT != 0 {
        let lengths: Vec<u8> = set.key.iter().map(|field| field.size() as u8).collect();
        attributes.extend(attributes![NFTNL_SET_DESC_CONCAT => &lengths[..]]);
    }
    attributes.extend(attributes![NFTNL_SET_USERDATA => &userdata[..]]);
    // The kernel gives elements that come without an expression a copy of the set's.
    let counter = set.counter.then(|| libnftnl::Expression::expression(c"counter", Vec::new()));
    libnftnl::Set::new(attributes, counter.into_iter().collect::<Result<_, _>>()?)
}

/// A record of user data as libnftnl writes it: type, length, value.
fn record(kind: u8, value: u32) -> Vec<u8> {
    [&[kind, 4][..], &value.to_ne_bytes()].concat()
}

/// The declaration in the attributes of a set, without a counter, as far as the model has it. `None` if it has not.
pub(super) fn read(name: &str, attributes: Attributes<'_>) -> Option<Set> {
    let number = |kind| attributes.number(kind).unwrap_or(0);
    let flags = attributes.flags(NFTA_SET_FLAGS);
    let data = match number(NFTA_SET_DATA_TYPE) {
        _ if flags & NFT_SET_MAP == 0 => SetData::None,
        NFT_DATA_VERDICT => SetData::Verdict,
        data_type => SetData::Value(types(data_type)?),
    };
    let set = Set {
        data,
        flags: SetFlags {
            interval: flags & NFT_SET_INTERVAL != 0,
            dynamic: flags & NFT_SET_EVAL != 0,
            timeout: flags & NFT_SET_TIMEOUT != 0,
        },
        size: attributes.nested(NFTA_SET_DESC).number(NFTA_SET_DESC_SIZE),
        ..Set::new(name, &types(number(NFTA_SET_KEY_TYPE))?)
    };
    let declaration = Declaration::of(&set).ok()?;
    let same_data =
        !matches!(set.data, SetData::Value(_)) || declaration.data_length == number(NFTA_SET_DATA_LEN);
    let same_key = declaration.key_length == number(NFTA_SET_KEY_LEN);
    (declaration.flags == flags && same_key && same_data).then_some(set)
}

fn type_and_length(types: &[DataType]) -> Result<(u32, u32), String> {
    let length = match types {
        [] => return Err("a key or data without a type".to_owned()),
        [one] => one.size(),
        fields => fields.iter().map(|field| field.padded_size()).sum(),
    };
    if types.len() > FIELDS_MAX || length > LENGTH_MAX {
        return Err(format!("a key or data of {} fields and {length} bytes", types.len()));
    }
    Ok((types.iter().fold(0, |all, field| all << TYPE_BITS | field.id()), length as u32))
}

/// The fields of a concatenation's type, first field in the highest bits.
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

/// nft's `enum byteorder`: invalid for concatenations, whose fields have their own.
fn byte_order(types: &[DataType]) -> u32 {
    match types {
        [DataType::ClassId] => 1,
        [DataType::Ipv4Addr | DataType::Ipv6Addr | DataType::InetService] => 2,
        _ => 0,
    }
}
